"""The page for people: what the proxy is doing, in a browser."""
