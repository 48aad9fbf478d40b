from hypothesis import given
from hypothesis import strategies as st

from llmctl.ledger.schema import latency_step, step_ms

latencies = st.floats(min_value=0.001, max_value=1e7)


@given(latencies)
def test_a_step_stands_for_every_latency_in_it_within_a_percent(ms):
    assert abs(step_ms(latency_step(ms)) - ms) <= 0.0101 * ms


@given(latencies, latencies)
def test_steps_keep_the_order(one, other):
    smaller, bigger = sorted((one, other))
    assert latency_step(smaller) <= latency_step(bigger)


def test_no_latency_is_too_small():
    assert latency_step(0.0) == latency_step(-1.0) == latency_step(0.001)
