"""Flags, environment and TOML file become one frozen ``Config``, each value with its origin."""
