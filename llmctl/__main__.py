"""``python -m llmctl``."""

from llmctl.cli.main import main

main()
