"""How much context, host cache and how many threads the engine gets on this machine; pure sums."""

import os
from pathlib import Path

from msgspec import Struct

from llmctl.backend.embedded.gguf import Gguf

DEFAULT_CONTEXT = 65_536
LEAST_CONTEXT = 4096
"""Claude Code's smallest request (``--bare``) takes about 1,000 tokens, its usual one 19,000."""
_UNKNOWN_CONTEXT = 8192
_MIB = 1024 * 1024
_MOST_CACHE_MIB = 8192
"""llama.cpp's own default for prompts it keeps in memory beside the slots."""


class Size(Struct, frozen=True, kw_only=True):
    """What one engine process is started with."""

    context_per_slot: int
    cache_mib: int
    """Memory for prompts that lost their slot; a conversation that comes back is not read again."""
    wanted_context: int
    """What ``context_per_slot`` would be if memory were no matter."""


def size_for(model: Gguf, *, num_ctx: int | None, parallel: int, memory_bytes: int | None) -> Size:
    """Give each slot the model's trained context, or ``num_ctx``, as far as memory allows.

    ``memory_bytes`` is what is free now, None where it cannot be told. The weights, the contexts
    and a tenth for work space have to fit in it; an explicit ``num_ctx`` is never reduced, a
    default is halved until it fits or ``LEAST_CONTEXT`` is reached.
    """
    trained = model.context_length or _UNKNOWN_CONTEXT
    wanted = min(num_ctx or DEFAULT_CONTEXT, trained)
    context = wanted
    if num_ctx is None and memory_bytes is not None:
        room = memory_bytes * 9 // 10 - model.size_bytes
        while context > LEAST_CONTEXT and context * parallel * model.kv_bytes_per_token > room:
            context = max(context // 2, LEAST_CONTEXT)
    return Size(context_per_slot=context, cache_mib=_cache_mib(memory_bytes), wanted_context=wanted)


def _cache_mib(memory_bytes: int | None) -> int:
    if memory_bytes is None:
        return _MOST_CACHE_MIB // 8
    return min(memory_bytes // 4 // _MIB, _MOST_CACHE_MIB)


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes that can be taken without swapping; None where the system does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def compute_threads(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return one less than the processors this process may use, and at least one.

    llama.cpp's threads wait for each other, spinning, many times per token: as soon as anything
    else wants one of their processors all of them stand still. Measured with SmolLM2 on two cores
    and one busy neighbour: 2 to 8 tokens/s with two threads, 24 to 50 with one.
    """
    return max(1, _usable_cpus(cpu_max) - 1)


def _usable_cpus(cpu_max: Path) -> int:
    """Return the processors of this process, a container's quota included."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return min(cpus, int(quota) // int(period))
    except (OSError, ValueError):
        return cpus
