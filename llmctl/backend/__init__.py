"""HTTP to running engines, and the pool that picks one."""
