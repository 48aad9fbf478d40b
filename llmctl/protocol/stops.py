"""Stop sequences, matched here because engines do not say which one they met."""

import re
from collections.abc import Iterable


class StopMatcher:
    """Finds the first stop sequence in a text that arrives in pieces.

    First is the one that is complete first, and of several that end together the longest: what a
    generation that looks at every character would stop at, however the text is cut. Only what may
    be the beginning of a sequence is held back, so never more than the longest one less a
    character.
    """

    def __init__(self, sequences: Iterable[str]) -> None:
        self._sequences = sorted({text for text in sequences if text}, key=len, reverse=True)
        firsts = {sequence[0] for sequence in self._sequences}
        self._firsts = re.compile("|".join(map(re.escape, firsts)) or r"(?!)")
        self._held = ""
        self.matched: str | None = None
        """The sequence met, exactly as it was asked for."""

    def feed(self, text: str) -> str:
        """Return the text that is safe to show: up to the sequence, once one is met."""
        if self.matched is not None:
            return ""
        if not self._held and not self._firsts.search(text):
            return text
        text = self._held + text
        cut = self._match(text)
        if cut < 0:
            cut = self._possible(text)
            self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """Return what was held back: nothing follows that could complete it."""
        held, self._held = self._held, ""
        return held

    def _match(self, text: str) -> int:
        """Return where the sequence met begins, -1 if none was."""
        best = (len(text) + 1, 0)
        for sequence in self._sequences:
            start = text.find(sequence, 0, best[0])
            if start >= 0 and start + len(sequence) < best[0]:
                best = (start + len(sequence), start)
                self.matched = sequence
        if self.matched is None:
            return -1
        self._held = ""
        return best[1]

    def _possible(self, text: str) -> int:
        """Return where the longest beginning of a sequence at the end of the text begins."""
        first = len(text)
        for sequence in self._sequences:
            at = text.find(sequence[0], max(0, len(text) - len(sequence) + 1), first)
            while at >= 0:
                if sequence.startswith(text[at:]):
                    first = at
                    break
                at = text.find(sequence[0], at + 1, first)
        return first
