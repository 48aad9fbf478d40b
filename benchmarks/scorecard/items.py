"""The items: weights and titles of the scorecard, and what measures each."""

from benchmarks.scorecard import faults, http, load, money, redis_faults, security
from benchmarks.scorecard.card import Item

CARD = (
    Item("L1", 6, "many streams", load.streams),
    Item("L2", 3, "latency of a word", load.latency),
    Item("L3", 3, "soak", load.soak, slow=True),
    Item("L4", 4, "readers that stall", load.stalled, slow=True),
    Item("L5", 2, "cost of the tunnel", load.tunnel_cost, slow=True),
    Item("F1", 6, "clients that leave", faults.clients_that_leave, gate=True),
    Item("F2", 5, "engines that break", faults.broken_engines),
    Item("F3", 6, "links that die", faults.tunnel, slow=True),
    Item("F4", 6, "Redis faults", redis_faults.redis),
    Item("F5", 2, "cache files", faults.stores),
    Item("F6", 3, "drain", faults.drain),
    Item("F7", 2, "overload", faults.overload),
    Item("M1", 10, "crash-point matrix", money.crash_points, gate=True),
    Item("M2", 3, "repeats and races", money.idempotent, slow=True),
    Item("M3", 2, "foreign instances", money.foreign),
    Item("B1", 5, "raw HTTP", http.corpus, gate=True),
    Item("B2", 4, "generated messages", http.messages),
    Item("B3", 3, "engines' streams, cut anywhere", http.streams),
    Item("B4", 2, "half-open connections", http.slow_loris),
    Item("S1", 5, "secrets", security.canaries, gate=True),
    Item("S2", 4, "host keys", security.host_keys, gate=True),
    Item("S3", 4, "browsers", security.browsers),
    Item("S4", 2, "guessed tokens", security.guessing),
    Item("S5", 4, "neighbours in the cache", security.isolation, gate=True),
    Item("S6", 2, "exposure", security.exposure),
    Item("S7", 2, "plaintext at rest", security.at_rest),
)
