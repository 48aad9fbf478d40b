"""Values become text. The only room that knows Rich."""
