"""The examples of the help are commands as they are; tests/e2e/rent runs them."""

import re
import shlex

import pytest
from typer.main import get_command

from llmctl.cli.app import app
from tests.command_tree import leaves

LEAVES = {leaf.name: leaf for leaf in leaves()}
EXAMPLES = sorted({example for leaf in LEAVES.values() for example in leaf.examples})


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_two_to_four(name):
    examples = LEAVES[name].examples
    assert 2 <= len(examples) <= 4
    assert any(example.find(name) >= 0 for example in examples)


@pytest.mark.parametrize("example", EXAMPLES)
def test_they_are_understood(example):
    """Commands, options and arguments exist, whatever they would do."""
    found = re.search(r"\bllmctl\b([^|>)]*)", example)
    words = shlex.split(found[1])
    command, path = get_command(app), ["llmctl"]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        path.append(words.pop(0))
    command.make_context(" ".join(path), words, resilient_parsing=False)
