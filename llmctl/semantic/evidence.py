"""What was seen of candidates: per entry, and of all of a kind together, over all proxies."""

import secrets
from collections import Counter, OrderedDict, defaultdict

from llmctl.semantic.bound import Evidence, Observation, Prior
from llmctl.semantic.journal import MAX_OUTCOMES, PAGE, START, Journal
from llmctl.semantic.records import OUTCOME, Outcome, Seal, outcome_row, read_outcome

PER_ENTRY = 32
"""Observations of one entry that count: the newest."""

BEFORE = Prior()


class Outcomes:
    """Learns from what happened to candidates."""

    def __init__(
        self, journal: Journal, seal: Seal, *, counts: Counter[str], before: Prior = BEFORE
    ) -> None:
        """``before`` is what is known of a kind of which nothing was seen yet."""
        self._journal = journal
        self._seal = seal
        self._counts = counts
        self._position = START
        self._priors: defaultdict[str, Prior] = defaultdict(lambda: before)
        self._of_entry: OrderedDict[bytes, list[Observation]] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        """Keys of outcomes that were counted: a row that was copied is none of its own."""

    def evidence(self, entry: bytes, kind: str) -> Evidence:
        """Return what is known when ``entry`` is a candidate."""
        return Evidence(observations=self._of_entry.get(entry, ()), prior=self._priors[kind])

    def note(self, outcome: Outcome) -> None:
        """Learn from an outcome, here and for the other proxies."""
        key = secrets.token_bytes(16)
        self._journal.append(outcome_row(outcome, key, self._seal))
        self._learn(key, outcome)

    async def follow(self) -> None:
        """Take up what others have seen since the last time."""
        while True:
            page = await self._journal.read(OUTCOME, self._position)
            for placed in page:
                if placed.key in self._seen:
                    continue
                outcome = read_outcome(placed, self._seal)
                if outcome is None:
                    self._counts["damaged"] += 1
                else:
                    self._learn(placed.key, outcome)
            if page:
                self._position = page[-1].position
            if len(page) < PAGE:
                return

    def _learn(self, key: bytes, outcome: Outcome) -> None:
        self._seen[key] = None
        if len(self._seen) > MAX_OUTCOMES:
            self._seen.popitem(last=False)
        if outcome.same is None:
            return
        prior = self._priors[outcome.kind]
        self._priors[outcome.kind] = prior.with_outcome(outcome.risk, same=outcome.same)
        observations = self._of_entry.setdefault(outcome.entry, [])
        observations.append(Observation(outcome.likeness, outcome.same))
        del observations[:-PER_ENTRY]
        self._of_entry.move_to_end(outcome.entry)
        if len(self._of_entry) > MAX_OUTCOMES:
            self._of_entry.popitem(last=False)
