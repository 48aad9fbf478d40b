"""The manual page as ``man`` shows it."""

import shutil
import subprocess

import pytest

from tests.command_tree import leaves
from tests.manual import PAGE


@pytest.fixture(scope="module")
def formatted():
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("the manual page is not formatted: there is no groff on PATH")
    ended = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbou", str(PAGE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return ended.stdout


def test_the_formatter_has_nothing_to_say_and_every_command_is_there(formatted):
    for leaf in leaves():
        assert leaf.name in formatted
        for example in leaf.examples:
            assert example in formatted


def test_sections_are_those_of_every_manual(formatted):
    titles = [line for line in formatted.splitlines() if line and line[0].isalpha()]
    for title in ("NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"):
        assert title in titles
