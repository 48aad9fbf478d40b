"""``python -m benchmarks.scorecard [ITEM…] [--short] [--gates] [--list]``."""

import argparse
import asyncio
import logging
import sys
import time

from benchmarks.scorecard import card
from benchmarks.scorecard.items import CARD


def main() -> int:
    """Measure, print, and return 1 where a gate is not held."""
    options = _arguments()
    chosen = [item for item in CARD if _wanted(item, options)]
    if options.list:
        for item in chosen:
            print(f"{item.key:4}{item.weight:3}  {item.title}{' (gate)' if item.gate else ''}")
        return 0
    # emulators complain of clients that leave, which is what many items are about
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    outcomes = []
    for item in chosen:
        began = time.monotonic()
        outcomes.append(asyncio.run(card.measure(item, short=options.short)))
        print(f"# {item.key}: {card.said(outcomes[-1])}, {time.monotonic() - began:.0f} s")
    if options.short and not (options.items or options.gates):
        left_out = [item for item in CARD if item not in chosen]
        outcomes += [card.Outcome(item, missing="too long for the short form") for item in left_out]
    print(card.table(outcomes))
    return int(any(outcome.item.gate and not outcome.held for outcome in outcomes))


def _wanted(item: card.Item, options: argparse.Namespace) -> bool:
    named = {name.upper() for name in options.items}
    if options.gates:
        return item.gate
    if named:
        return item.key in named
    return not (options.short and item.slow)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", nargs="*", metavar="ITEM", help="all unless named: L1 F1 M1 …")
    parser.add_argument("--short", action="store_true", help="smaller, within five minutes")
    parser.add_argument(
        "--gates", action="store_true", help="only what a release cannot do without"
    )
    parser.add_argument("--list", action="store_true", help="show the items and end")
    options = parser.parse_args()
    unknown = {name.upper() for name in options.items} - {item.key for item in CARD}
    if unknown:
        parser.error(f"no item {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
