"""The picture of a session that README shows; ``python -m tests.session`` takes it anew."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.command_tree import leaves

PICTURE = Path(__file__).parents[3] / "docs" / "session.svg"
SVG = "{http://www.w3.org/2000/svg}"


def shown() -> list[str]:
    """Return its lines, pieces of one colour being put together."""
    rows: dict[float, str] = {}
    for text in ET.parse(PICTURE).iter(f"{SVG}text"):
        row = float(text.get("y"))
        rows[row] = rows.get(row, "") + "".join(text.itertext()).replace("\xa0", " ")
    return [rows[row].rstrip() for row in sorted(rows)]


def test_it_asks_nobody_else_when_it_is_shown():
    assert re.findall(r"url\((?!#)|@import|<script|href=", PICTURE.read_text()) == []


def test_what_was_typed_are_commands_and_none_failed():
    names = [leaf.name for leaf in leaves()]
    lines = shown()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert len(typed) >= 4
    for line in typed:
        assert any(line == name or line.startswith(f"{name} ") for name in names)
    assert not any(line.startswith("error:") for line in lines)
