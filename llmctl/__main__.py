"""``python -m llmctl``."""

from llmctl.cli.entry import main

main()
