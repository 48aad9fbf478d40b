import re
from pathlib import Path

from llmctl import __version__


def test_the_changelog_begins_with_this_version():
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(.+?)\]", text, re.MULTILINE)[1] == __version__
