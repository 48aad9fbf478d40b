"""llmctl: Claude Code on an open model, on a GPU you rent or own."""

__version__ = "0.3.2"
