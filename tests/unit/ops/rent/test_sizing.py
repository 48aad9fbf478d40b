import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.errors import ConfigError
from llmctl.core.rental import Fit, ProviderName
from llmctl.ops.rent.sizing import Need, disk_for, fit, needed_gib, shape_of, smaller
from tests.unit.ops.rent.stage import a_spec

RTX4090, H100, RTX5090, SMALL = 24564, 81559, 32607, 12282


def chosen(found: Fit) -> tuple[str, int, str, int]:
    return found.model, found.num_ctx, found.kv_cache_type, found.parallel


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (RTX4090, ("qwen3-coder", 65536, "q8_0", 1)),
        (H100, ("qwen3-coder", 262144, "f16", 2)),
        (RTX5090, ("qwen3-coder", 200000, "q8_0", 1)),
        (SMALL, ("qwen2.5-coder:7b", 32768, "f16", 1)),
    ],
)
def test_each_card_gets_what_it_holds(memory, expected):
    assert chosen(fit(a_spec(), memory)) == expected


@pytest.mark.parametrize(
    ("num_ctx", "kind", "gib"),
    [
        (32768, "q8_0", 20.1),
        (65536, "q8_0", 21.7),
        (98304, "q4_0", 21.0),
        (131072, "q8_0", 24.9),
        (262144, "f16", 42.5),
    ],
)
def test_memory_is_what_the_reference_says(num_ctx, kind, gib):
    need = Need(num_ctx=num_ctx, kv_cache_type=kind, parallel=1)
    assert needed_gib(shape_of("qwen3-coder:30b"), need) == pytest.approx(gib, abs=0.1)


def test_what_is_asked_for_is_taken():
    asked = a_spec(num_ctx=32768, kv_cache_type="f16", parallel=1, disk_gb=80)
    found = fit(asked, RTX4090)
    assert chosen(found) == ("qwen3-coder", 32768, "f16", 1)
    assert found.disk_gb == 80


def test_a_longer_context_gets_a_coarser_cache():
    assert fit(a_spec(num_ctx=131072), RTX4090).kv_cache_type == "q4_0"


def test_the_disk_holds_the_model_and_room():
    assert fit(a_spec(), RTX4090).disk_gb == disk_for(18_600_000_000) == 48


def test_a_volume_keeps_the_model_off_the_disk():
    spec = a_spec(volume="v1", providers=(ProviderName.RUNPOD,))
    assert fit(spec, RTX4090).disk_gb == 25


def test_what_cannot_fit_is_refused_with_figures_and_what_would():
    with pytest.raises(ConfigError, match=r"262,144 tokens.* q4_0.* 25\.3 GiB .* 22\.5 GiB") as no:
        fit(a_spec(num_ctx=262144), RTX4090)
    assert no.value.hint == "--num-ctx 65536 --kv-cache-type q8_0 fits"


def test_a_model_larger_than_the_card_is_refused():
    with pytest.raises(ConfigError, match=r"fp16 .* GiB") as no:
        fit(a_spec(model="qwen3-coder:30b-a3b-fp16"), RTX4090)
    assert "--gpu h100" in no.value.hint


def test_no_more_context_than_the_model_was_trained_for():
    found = fit(a_spec(model="qwen2.5-coder:7b", num_ctx=65536), RTX4090)
    assert found.num_ctx == 32768
    assert "trained for 32,768" in found.reasons[0]


def test_two_cards_hold_twice_but_for_what_each_keeps_back():
    two = fit(a_spec(gpu_count=2, parallel=1), 2 * RTX4090)
    assert two.num_ctx == 262144
    assert fit(a_spec(), 24564).num_ctx == 65536
    assert fit(a_spec(gpu_count=2), 24564).num_ctx == 49152


def test_an_unknown_model_needs_a_disk_to_be_rented():
    with pytest.raises(ConfigError, match="size of llama9:70b is not known") as no:
        fit(a_spec(model="llama9:70b"), H100)
    assert "--disk" in no.value.hint
    found = fit(a_spec(model="llama9:70b", disk_gb=90), H100)
    assert (found.model_bytes, found.disk_gb) == (0, 90)


def test_an_unknown_model_needs_no_disk_on_ones_own_machine():
    spec = a_spec(model="llama9:70b", providers=(ProviderName.HOST,))
    assert fit(spec, RTX4090).model == "llama9:70b"


@pytest.mark.parametrize(
    ("model", "expected"), [(None, "qwen2.5-coder:7b"), ("qwen3-coder", "qwen3-coder")]
)
def test_without_a_gpu_it_is_the_fallback_or_what_was_asked_for(model, expected):
    found = fit(a_spec(model=model), None, ram_mib=64_000)
    assert found.model == expected
    assert "slow" in found.reasons[0]


def test_without_a_gpu_memory_must_hold_it():
    with pytest.raises(ConfigError, match=r"17\.3 GiB .* 7\.8 GiB"):
        fit(a_spec(model="qwen3-coder"), None, ram_mib=8000)


def test_a_card_that_holds_less_than_reckoned_gets_the_next_shorter_context():
    found = fit(a_spec(), RTX4090)
    shorter = smaller(a_spec(), found)
    assert shorter.num_ctx == 49152
    assert smaller(a_spec(), shorter).num_ctx == 32768
    assert smaller(a_spec(), smaller(a_spec(), shorter)) is None


def test_a_context_that_was_asked_for_is_not_cut():
    spec = a_spec(num_ctx=65536)
    assert smaller(spec, fit(spec, RTX4090)) is None


def test_every_choice_has_a_reason():
    reasons = " ".join(fit(a_spec(), H100).reasons)
    for words in ("66.5 of 78.1 GiB", "262,144 tokens", "f16 KV cache", "2 requests", "disk"):
        assert words in reasons


def test_a_short_context_says_what_it_cannot_do():
    spec = a_spec(model="qwen2.5-coder:7b", num_ctx=8192)
    assert "llmctl claude --bare" in fit(spec, RTX4090).reasons[-2]


@given(
    memory=st.integers(4_000, 200_000),
    num_ctx=st.none() | st.integers(2048, 262144),
    kind=st.sampled_from([None, "f16", "q8_0", "q4_0"]),
    parallel=st.sampled_from([None, 1, 2, 4]),
)
def test_what_is_chosen_fits_and_is_what_was_asked_for(memory, num_ctx, kind, parallel):
    spec = a_spec(num_ctx=num_ctx, kv_cache_type=kind, parallel=parallel)
    try:
        found = fit(spec, memory)
    except ConfigError:
        return
    need = Need(num_ctx=found.num_ctx, kv_cache_type=found.kv_cache_type, parallel=found.parallel)
    assert needed_gib(shape_of(found.model), need) <= memory / 1024 - 1.5
    assert kind in (None, found.kv_cache_type)
    assert parallel in (None, found.parallel)
    assert num_ctx is None or found.num_ctx == min(num_ctx, shape_of(found.model).context)
