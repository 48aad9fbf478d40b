"""Plain tables: no borders, two spaces between columns, numbers to the right."""

from collections.abc import Collection, Sequence

Cell = str | int | float | None


def table(
    rows: Sequence[Sequence[Cell]], *, header: Sequence[str] = (), right: Collection[str] = ()
) -> str:
    """Return aligned lines, each with a newline; at least one row, cells never cut or wrapped.

    None shows as ``-``. A column whose cells are all numbers or None is aligned to the right, and
    so are those whose header is in ``right``.
    """
    numbers = [
        all(cell is None or isinstance(cell, int | float) for cell in column)
        for column in zip(*rows, strict=True)
    ]
    lines = [[_text(cell) for cell in row] for row in rows]
    if header:
        numbers = [number or name in right for number, name in zip(numbers, header, strict=True)]
        lines.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def narrowed(
    rows: Sequence[Sequence[Cell]],
    header: Sequence[str],
    *,
    width: int | None,
    spare: Sequence[str],
    right: Collection[str] = (),
) -> str:
    """Return a table of at most ``width`` columns if leaving out ``spare`` ones, in order, does it.

    None is a pipe, which is as wide as need be.
    """
    shown = list(header)
    while True:
        places = [header.index(name) for name in shown]
        text = table([[row[at] for at in places] for row in rows], header=shown, right=right)
        dispensable = [name for name in spare if name in shown]
        if width is None or not dispensable or max(map(len, text.splitlines())) <= width:
            return text
        shown.remove(dispensable[0])


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else cell
