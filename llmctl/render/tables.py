"""Plain tables: no borders, two spaces between columns, numbers to the right."""

from collections.abc import Sequence

Cell = str | int | float | None


def table(rows: Sequence[Sequence[Cell]], *, header: Sequence[str] = ()) -> str:
    """Return aligned lines, each with a newline; at least one row, cells never cut or wrapped.

    None shows as ``-``. A column whose cells are all numbers or None is aligned to the right.
    """
    right = [
        all(cell is None or isinstance(cell, int | float) for cell in column)
        for column in zip(*rows, strict=True)
    ]
    lines = [[_text(cell) for cell in row] for row in rows]
    if header:
        lines.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else cell
