"""Use cases: they return plans and yield steps; they never print, prompt or exit."""
