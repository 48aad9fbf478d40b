"""Response cache: keys and values are bytes; what they mean is known elsewhere."""
