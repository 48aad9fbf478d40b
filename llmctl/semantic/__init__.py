"""Whether two questions mean the same, and how sure one may be of it."""
