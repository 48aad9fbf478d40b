"""The scorecard: what llmctl promises under load, faults, attack and loss, measured as installed.

``python -m benchmarks.scorecard [ITEM…] [--short]``. Items, weights and limits are those of
``card.CARD``; each is measured by a function of ``load``, ``faults``, ``money``, ``http``,
``security`` or ``secrets``, which use the parts that the tests use.
"""
