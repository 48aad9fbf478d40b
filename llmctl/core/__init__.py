"""Values that two rooms share; imports only the standard library, msgspec and platformdirs."""
