"""The response cache as its operator sees it: what is in it, what it does, and how to empty it."""
