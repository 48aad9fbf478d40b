"""Reads the tables of words and phrases beside this file: lines under headings in brackets."""

from importlib.resources import files


def table(name: str) -> list[tuple[str, list[str]]]:
    """Return the sections of a table in order, each with its lines; comments begin with ``# ``."""
    found: list[tuple[str, list[str]]] = []
    text = files(__package__).joinpath(name).read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1], []))
        elif line and not line.startswith("# "):
            found[-1][1].append(line)
    return found
