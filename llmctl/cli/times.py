"""From when until when: the options of reports, each spelled and read in one way."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli.options import variables

if TYPE_CHECKING:
    from datetime import tzinfo

Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="24h or 7d ago, 2026-11-01, today, month (its first day), all.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="The same; default now.", show_default=False),
]
ZoneName = Annotated[
    str | None,
    typer.Option(
        "--timezone",
        metavar="ZONE",
        help="Where days begin: UTC, local, Europe/Berlin " + variables("budget.timezone"),
        show_default=False,
    ),
]


def read_limits(
    since: str | None, until: str | None, *, now: float, zone: "tzinfo | None"
) -> tuple[float | None, float | None]:
    """Return both as seconds since the epoch, None where there is no limit.

    Raises ``ConfigError`` naming the option, what it was given and what it takes.
    """
    from llmctl.core.errors import ConfigError
    from llmctl.ops.cost_days import read_moment

    found: list[float | None] = []
    for flag, text in (("--since", since), ("--until", until)):
        try:
            unlimited = text is None or (text == "all" and flag == "--since")
            found.append(None if unlimited else read_moment(text or "", now=now, zone=zone))
        except ValueError as reason:
            also = '; "all" is everything on record' if flag == "--since" else ""
            raise ConfigError(f"{flag} cannot be {text!r}: {reason}{also}") from None
    begin, end = found
    if begin is not None and begin > (now if end is None else end):
        raise ConfigError(f"--since {since} is after --until {until or 'now'}")
    return begin, end
