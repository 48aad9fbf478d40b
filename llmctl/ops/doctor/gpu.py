"""GPU memory against model and context: of this machine, and of those on record."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence

from msgspec import Struct

from llmctl.core.errors import ConfigError
from llmctl.core.rental import ProviderName, UpSpec
from llmctl.core.reports_health import CheckState, Finding
from llmctl.ops.rent.sizing import fit, shape_of

SECTION = "gpu"
QUERY = ("name", "memory.total", "memory.used", "driver_version")
LEAST_DRIVER = 550
"""Ollama's own floor."""
_PROGRAM_S = 8.0


class Card(Struct, frozen=True, kw_only=True):
    """One GPU as its driver names it."""

    name: str
    memory_mib: int
    used_mib: int | None = None
    driver: str = ""


async def local_cards(environ: Mapping[str, str]) -> list[Card] | None:
    """Ask ``nvidia-smi``; None where there is none, or it fails."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return None
    process = await asyncio.create_subprocess_exec(
        program,
        f"--query-gpu={','.join(QUERY)}",
        "--format=csv,noheader,nounits",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(environ),
    )
    try:
        async with asyncio.timeout(_PROGRAM_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return read_cards(said.decode(errors="replace")) if process.returncode == 0 else None


def read_cards(text: str) -> list[Card]:
    """Read the CSV of ``nvidia-smi``; lines that are not what was asked for are left out."""
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(QUERY) and parts[1].isdigit():
            used = int(parts[2]) if parts[2].isdigit() else None
            cards.append(
                Card(name=parts[0], memory_mib=int(parts[1]), used_mib=used, driver=parts[3])
            )
    return cards


def local_findings(cards: Sequence[Card] | None, model: str | None, window: int) -> list[Finding]:
    """Judge the cards of this machine for the model its engine answers with; pure."""
    if cards is None:
        detail = "no nvidia-smi here: an engine on this machine has the processor, or another GPU"
        return [_finding("here", CheckState.NOTE, detail)]
    if not cards:
        return [_finding("here", CheckState.NOTE, "nvidia-smi shows no GPU")]
    findings = [_fitted("here", cards, model, window)]
    old = next((card for card in cards if _is_old(card)), None)
    if old is not None:
        detail = f"driver {old.driver} is older than {LEAST_DRIVER}, which Ollama needs"
        fix = f"sudo apt install nvidia-driver-{LEAST_DRIVER}"
        findings.append(_finding("driver", CheckState.BAD, detail, fix))
    return findings


def machine_finding(
    name: str, cards: Sequence[Card], model: str | None, window: int | None
) -> Finding:
    """Judge the cards of a machine on record; ``up`` has chosen its cache, so that is not told."""
    if not cards:
        return _finding(name, CheckState.NOTE, f"{name} has no GPU that nvidia-smi shows")
    return _fitted(name, cards, model, window or 0, chosen=True)


def _fitted(
    name: str, cards: Sequence[Card], model: str | None, window: int, *, chosen: bool = False
) -> Finding:
    """Compare memory with what weights, cache and buffers take."""
    shown = _shown(cards)
    if model is None or shape_of(model) is None or not window:
        known = f"nothing is known of what {model} needs" if model else "no model to compare with"
        return _finding(name, CheckState.OK, f"{shown}; {known}")
    total = sum(card.memory_mib for card in cards)
    spec = UpSpec(
        name=name,
        providers=(ProviderName.LOCAL,),
        gpu_count=len(cards),
        model=model,
        num_ctx=window,
        parallel=1,
    )
    try:
        fits = fit(spec, total)
    except ConfigError as too_large:
        fix = f"llmctl up {name} --num-ctx 32768" if chosen else "llmctl serve --num-ctx 32768"
        return _finding(name, CheckState.BAD, f"{shown}; {too_large.message}", fix)
    detail = f"{shown}; {fits.reasons[0]} for {model} with {window:,} tokens"
    if fits.kv_cache_type == "f16" or chosen:
        return _finding(name, CheckState.OK, detail)
    fix = f"OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE={fits.kv_cache_type} ollama serve"
    return _finding(name, CheckState.NOTE, f"{detail}, with a {fits.kv_cache_type} cache", fix)


def _shown(cards: Sequence[Card]) -> str:
    total = sum(card.memory_mib for card in cards)
    count = f"{len(cards)} x " if len(cards) > 1 else ""
    used = [card.used_mib for card in cards if card.used_mib is not None]
    taken = f" ({sum(used):,} in use)" if used else ""
    return f"{count}{cards[0].name}, {total:,} MiB{taken}"


def _is_old(card: Card) -> bool:
    major = card.driver.partition(".")[0]
    return major.isdigit() and int(major) < LEAST_DRIVER


def _finding(name: str, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=SECTION, name=name, state=state, detail=detail, fix=fix)
