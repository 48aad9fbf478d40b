"""The command line: parses, calls ``ops``, prints through ``render``, maps errors to exit codes."""
