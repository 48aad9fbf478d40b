"""Context, cache and threads out of what the machine has."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.backend.embedded.gguf import Gguf
from llmctl.backend.embedded.sizing import (
    DEFAULT_CONTEXT,
    LEAST_CONTEXT,
    compute_threads,
    free_memory,
    size_for,
)

GIB = 1024**3


def model(*, trained: int | None = 8192, kv: int = 23_040, size: int = 98_362_432) -> Gguf:
    return Gguf(
        path=Path("m.gguf"),
        size_bytes=size,
        architecture="llama",
        context_length=trained,
        kv_bytes_per_token=kv,
        digest="d",
    )


CODER = model(trained=262_144, kv=96 * 1024, size=18 * GIB)
"""Like a 30B mixture of experts."""


@pytest.mark.parametrize(
    ("which", "num_ctx", "memory", "context"),
    [
        (model(), None, 16 * GIB, 8192),
        (model(), None, None, 8192),
        (model(), 2048, 16 * GIB, 2048),
        (model(), 100_000, 16 * GIB, 8192),  # beyond the trained context llama.cpp caps as well
        (model(trained=None), None, 16 * GIB, 8192),
        (CODER, None, 64 * GIB, DEFAULT_CONTEXT),
        (CODER, None, 24 * GIB, 16_384),
        (CODER, None, 8 * GIB, LEAST_CONTEXT),  # will not fit: llama.cpp says so, not we
        (CODER, 131_072, 8 * GIB, 131_072),  # the operator insists
    ],
)
def test_context_of_a_slot(
    which: Gguf, num_ctx: int | None, memory: int | None, context: int
) -> None:
    size = size_for(which, num_ctx=num_ctx, parallel=2, memory_bytes=memory)

    assert size.context_per_slot == context


def test_more_slots_get_less_context_each() -> None:
    assert size_for(CODER, num_ctx=None, parallel=1, memory_bytes=24 * GIB).context_per_slot == (
        2 * size_for(CODER, num_ctx=None, parallel=2, memory_bytes=24 * GIB).context_per_slot
    )


@given(st.integers(0, 128 * GIB), st.integers(1, 16), st.sampled_from([model(), CODER]))
def test_a_default_context_fits_or_is_the_least(memory: int, parallel: int, which: Gguf) -> None:
    size = size_for(which, num_ctx=None, parallel=parallel, memory_bytes=memory)

    taken = which.size_bytes + size.context_per_slot * parallel * which.kv_bytes_per_token
    assert taken <= memory or size.context_per_slot == LEAST_CONTEXT
    assert size.context_per_slot <= size.wanted_context
    assert size.cache_mib * 1024 * 1024 <= memory // 4


def test_memory_is_what_can_be_had_without_swapping(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable:     1500 kB\n")

    assert free_memory(meminfo) == 1500 * 1024
    assert free_memory(tmp_path / "missing") is None


def test_one_processor_is_left_to_the_rest_of_the_machine(tmp_path: Path) -> None:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cpus is not None
    quota = tmp_path / "cpu.max"

    for text, threads in (
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        (f"{cpus * 100000} 100000\n", max(1, cpus - 1)),
        ("max 100000\n", max(1, cpus - 1)),
    ):
        quota.write_text(text)
        assert compute_threads(quota) == threads
    assert compute_threads(tmp_path / "missing") == max(1, cpus - 1)
