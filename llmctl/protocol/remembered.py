"""What was worked out for an object, kept for as long as few others have come since.

Tools are nine tenths of a coding agent's request and the same in all of them: ``request`` decodes
them once, and whatever is made of that one object need not be made again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Remembered(Generic[S, T]):
    """A function of one object, remembered by its identity; ``size`` bounds how many."""

    def __init__(self, make: Callable[[S], T], *, size: int = 16) -> None:
        self._make = make
        self._size = size
        self._known: OrderedDict[int, tuple[S, T]] = OrderedDict()

    def __call__(self, source: S) -> T:
        """Return what ``make`` made of this very object, which must not change."""
        known = self._known.get(id(source))
        if known is not None:
            # The object is held here, so nothing else can have its id.
            self._known.move_to_end(id(source))
            return known[1]
        value = self._make(source)
        self._known[id(source)] = (source, value)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return value
