"""Decisions under an accepted rate of wrong answers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.bound import (
    EDGES,
    NOTHING,
    Evidence,
    Observation,
    Prior,
    Tally,
    class_of,
    may_serve,
    risk_of,
)

UNKNOWN = Prior(known=NOTHING)
RISKS = st.floats(0, 1)
OBSERVATIONS = st.lists(st.builds(Observation, similarity=RISKS, same=st.booleans()), max_size=8)


def counted(prior: Prior, risk: float, *, right: int = 0, wrong: int = 0) -> Prior:
    place = class_of(risk)
    tallies = list(prior.tallies)
    tallies[place] = Tally(wrong, right + wrong)
    return Prior(tuple(tallies), prior.known)


def test_nothing_known_serves_nothing():
    decision = may_serve(Evidence(prior=UNKNOWN), 1.0, 0.01)
    assert not decision.serve
    assert decision.explore_probability == 1
    assert decision.wrong_estimate == 1


def test_a_new_installation_serves_what_the_labelled_set_allows():
    assert may_serve(Evidence(), 0.9, 0.01).serve
    assert not may_serve(Evidence(), 0.9, 0.001).serve
    assert not may_serve(Evidence(), 0.3, 0.01).serve


def test_outcomes_here_take_that_back():
    prior = Prior()
    for _ in range(5):
        prior = prior.with_outcome(0.1, same=False)
    assert not may_serve(Evidence(prior=prior), 0.9, 0.01).serve


def test_enough_right_outcomes_allow_it():
    for right, serve in ((250, False), (300, True)):
        prior = counted(UNKNOWN, 0.1, right=right)
        assert may_serve(Evidence(prior=prior), 0.9, 0.01).serve is serve


def test_riskier_ones_do_not_count_against_safer_ones():
    prior = counted(counted(UNKNOWN, 0.01, right=300), 0.3, wrong=50)
    assert may_serve(Evidence(prior=prior), 0.995, 0.01).serve
    assert not may_serve(Evidence(prior=prior), 0.7, 0.01).serve


def test_an_entry_that_was_wrong_is_not_served():
    seen = (Observation(0.9, False),)
    assert may_serve(Evidence(), 0.9, 0.01).serve
    assert not may_serve(Evidence(observations=seen), 0.9, 0.01).serve


def test_some_of_the_servable_are_asked_all_the_same():
    assert not may_serve(Evidence(), 0.9, 0.01, draw=0.1).serve
    assert may_serve(Evidence(), 0.9, 0.01, draw=0.3).serve
    seasoned = counted(Prior(), 0.1, right=5000)
    assert may_serve(Evidence(prior=seasoned), 0.9, 0.01, draw=0.1).serve
    assert may_serve(Evidence(prior=seasoned), 0.9, 0.01).explore_probability == 0.02


@given(RISKS)
def test_every_risk_has_a_class(risk):
    assert risk <= EDGES[class_of(risk)]


@given(OBSERVATIONS, RISKS, RISKS)
def test_outcomes_move_the_risk_their_way(seen, similarity, at):
    risk = risk_of(seen, similarity)
    assert 0 <= risk <= 1
    assert risk_of([*seen, Observation(at, True)], similarity) <= risk
    assert risk_of([*seen, Observation(at, False)], similarity) >= risk


@given(st.lists(st.tuples(RISKS, st.booleans()), max_size=40), RISKS, st.floats(0.001, 0.2))
def test_a_wrong_outcome_never_allows_more(outcomes, risk, accepted):
    prior = UNKNOWN
    for at, same in outcomes:
        prior = prior.with_outcome(at, same=same)
    worse = prior.with_outcome(risk, same=False)
    for likeness in (0.5, 0.9, 0.99):
        before = may_serve(Evidence(prior=prior), likeness, accepted)
        after = may_serve(Evidence(prior=worse), likeness, accepted)
        # a class above may gain an outcome, never a right one
        assert after.wrong_estimate >= before.wrong_estimate or not after.serve


# -- simulations ---------------------------------------------------------------------------------


def life(
    accepted: float, *, requests: int, entries: int, noise: float, seed: int
) -> tuple[int, int]:
    """Ask many times; every entry has a line of its own. Returns served and wrong answers.

    Likenesses of right and of wrong candidates overlap from 0.5 to 1, and ``noise`` of the outcomes
    does not follow the line at all.
    """
    dice = random.Random(seed)
    lines = [dice.betavariate(2, 2) / 2 + 0.5 for _ in range(entries)]
    seen: list[list[Observation]] = [[] for _ in range(entries)]
    prior, served, wrong = UNKNOWN, 0, 0
    for _ in range(requests):
        entry = min(int(dice.expovariate(8) * entries), entries - 1)
        likeness = dice.uniform(0.5, 1)
        same = (likeness >= lines[entry]) != (dice.random() < noise)
        evidence = Evidence(observations=seen[entry], prior=prior)
        decision = may_serve(evidence, likeness, accepted, draw=dice.random())
        if decision.serve:
            served, wrong = served + 1, wrong + (not same)
        else:
            prior = prior.with_outcome(decision.risk, same=same)
            seen[entry] = [*seen[entry][-31:], Observation(likeness, same)]
    return served, wrong


@pytest.mark.parametrize(("accepted", "noise"), [(0.05, 0.0), (0.05, 0.01), (0.02, 0.002)])
def test_over_many_entries_the_wrong_share_stays_below_the_accepted_one(accepted, noise):
    lives = [life(accepted, requests=6000, entries=40, noise=noise, seed=seed) for seed in range(3)]
    served, wrong = (sum(each) for each in zip(*lives, strict=True))
    assert served > 1000
    assert wrong / served <= accepted


def test_where_no_likeness_is_safe_next_to_nothing_is_served():
    served, wrong = life(0.01, requests=6000, entries=40, noise=0.2, seed=1)
    assert served <= 30
