"""What a shell may complete: names out of files of ours, never from the network.

Each function gets the beginning of a word and returns what it may become.
"""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmctl.state.names import Named

Complete = Callable[[str], list[str]]


def remember(kind: str, names: Iterable[str]) -> None:
    """Keep names that a command has shown, for completion."""
    from llmctl.core.paths import find_paths
    from llmctl.core.seen import keep

    keep(find_paths(os.environ).cache / "names", kind, names)


def instances(incomplete: str) -> list[str]:
    """Complete the name of something rented."""
    return _fitting(incomplete, (each.name for each in _rented()))


def instance_ids(incomplete: str) -> list[str]:
    """Complete ``PROVIDER:ID`` of an instance."""
    known = (f"{each.provider}:{each.instance_id}" for each in _rented() if each.instance_id)
    return _fitting(incomplete, [*known, *_seen("instances")])


def models(incomplete: str) -> list[str]:
    """Complete a model: those on instances, and those seen lately."""
    return _fitting(incomplete, [*(each.model for each in _rented()), *_seen("models")])


def cards(incomplete: str) -> list[str]:
    """Complete a card that is offered."""
    from llmctl.core.gpus import GPUS

    return _fitting(incomplete, (gpu.key for gpu in GPUS))


def places(incomplete: str) -> list[str]:
    """Complete a region of offers seen lately."""
    return _fitting(incomplete, _seen("places"))


def profiles(incomplete: str) -> list[str]:
    """Complete a profile, built in or of the configuration."""
    from llmctl.config.load import load
    from llmctl.core.errors import LlmctlError
    from llmctl.ops.rent.spec import profiles as known

    try:
        return _fitting(incomplete, known(load(flags={}, environ=os.environ)))
    except LlmctlError:
        return []


def settings(incomplete: str) -> list[str]:
    """Complete the key of a setting."""
    from llmctl.config.settings import all_settings

    return _fitting(incomplete, all_settings())


def one_of(*words: str) -> Complete:
    """Complete one of a few words."""
    return lambda incomplete: _fitting(incomplete, words)


def _rented() -> "list[Named]":
    from llmctl.core.paths import find_paths
    from llmctl.state.names import rented

    return rented(find_paths(os.environ).rentals_file)


def _seen(kind: str) -> list[str]:
    from llmctl.core.paths import find_paths
    from llmctl.core.seen import seen

    return seen(find_paths(os.environ).cache / "names", kind)


def _fitting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name and name.startswith(incomplete)]
