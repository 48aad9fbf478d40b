"""Engines: version against what is known of it, the model, and whether Claude Code fits into it."""

import asyncio
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from llmctl.backend.base import facts_of
from llmctl.backend.models import choose
from llmctl.config import addresses
from llmctl.config.load import Loaded
from llmctl.config.schema import ModelConfig
from llmctl.core.errors import LlmctlError
from llmctl.core.model import EngineFacts, Health, LoadedModel, PartHealth
from llmctl.core.reports_health import CheckState, Finding
from llmctl.ops.claude import LEAST_CONTEXT
from llmctl.ops.engines import http_engine
from llmctl.ops.env import DEFAULT_CONTEXT
from llmctl.ops.health_links import backend_trouble, engine_fix
from llmctl.ops.served import is_embedded
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError

SECTION = "engine"
ENGINE_S = 10.0
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
ADVISORIES = (
    ((0, 1, 34), "CVE-2024-37032", "a model from a hostile registry runs programs"),
    ((0, 17, 1), "CVE-2026-7482", "whoever reaches it reads its memory"),
)
"""First Ollama without the hole, its number, and what it lets happen."""
_ASKED = "claude-sonnet-5"


class SeenEngine(Struct, frozen=True, kw_only=True):
    """One engine as it answered."""

    name: str
    kind: str
    facts: EngineFacts = EngineFacts()
    models: list[EngineModel] = []
    failure: str = ""


async def look_at_engines(loaded: Loaded, environ: Mapping[str, str]) -> list[SeenEngine]:
    """Ask every configured engine at the same time; the embedded one is left out."""
    backends = [each.url for each in loaded.config.backend if each.url != "embedded"]
    return list(await asyncio.gather(*(_seen(url, loaded, environ) for url in backends)))


async def _seen(backend: str, loaded: Loaded, environ: Mapping[str, str]) -> SeenEngine:
    kind = backend.partition(":")[0]
    try:
        engine = http_engine(backend, environ, timeouts=loaded.config.timeouts)
    except LlmctlError as failure:
        return SeenEngine(name=backend, kind=kind, failure=failure.message)
    assert engine is not None  # embedded ones are not asked
    try:
        models = await engine.discover()
    except ApiError as failure:
        return SeenEngine(name=engine.name, kind=kind, failure=failure.message)
    finally:
        await engine.close()
    return SeenEngine(name=engine.name, kind=kind, facts=facts_of(engine), models=list(models))


def served_findings(served: Health) -> list[Finding]:
    """Say of engines that only the proxy reaches what it says of them."""
    return [found for each in served.backends if is_embedded(each) for found in _served(each)]


def _served(part: PartHealth) -> list[Finding]:
    if not part.healthy:
        fix = engine_fix(part.name, part.detail)
        return [_finding("reached", CheckState.BAD, f"{part.name}: {part.detail}", fix)]
    windows = [
        context_finding(model.name, model.context_tokens)
        for model in part.loaded
        if model.context_tokens
    ]
    version = f", llama.cpp {part.version}" if part.version else ""
    detail = f"{part.name} runs inside of llmctl serve{version}"
    return [_finding("reached", CheckState.OK, detail), *windows, *_memory(part.loaded)]


def embedded_findings(loaded: Loaded) -> list[Finding]:
    """Look whether the engine that ``serve`` runs itself could be run, where it is configured."""
    if not any(each.url == "embedded" for each in loaded.config.backend):
        return []
    from llmctl.backend.embedded.engine import require_xllamacpp

    try:
        require_xllamacpp()
    except LlmctlError as missing:
        return [_finding("embedded", CheckState.BAD, missing.message, missing.hint or "")]
    return [_finding("embedded", CheckState.OK, "llama.cpp is installed; llmctl serve runs it")]


def engine_findings(seen: Sequence[SeenEngine], config: ModelConfig) -> list[Finding]:
    """Judge the engines; pure."""
    findings = []
    for engine in seen:
        findings += _reached(engine)
        if engine.kind == "ollama" and not engine.failure:
            findings.append(version_finding(engine.facts.version, where=engine.name))
    answering = [engine for engine in seen if not engine.failure]
    if answering:
        findings += _model_findings(answering, config)
    return findings


def version_finding(version: str, *, where: str, fix: str = "") -> Finding:
    """Compare a version of Ollama with what is known of it."""
    found = _VERSION.match(version)
    if found is None or found[0] == "0.0.0":
        detail = f"{where} says it is {version or 'of no version'}, which cannot be compared"
        return _finding("version", CheckState.UNKNOWN, detail)
    numbers = tuple(map(int, found.groups()))
    holes = [(cve, what) for fixed, cve, what in ADVISORIES if numbers < fixed]
    if not holes:
        return _finding("version", CheckState.OK, f"Ollama {version} has no hole known here")
    named = ", ".join(f"{cve} ({what})" for cve, what in holes)
    detail = f"Ollama {version} at {where} has {named}"
    return _finding("version", CheckState.BAD, detail, fix or _upgrade(where))


def _reached(engine: SeenEngine) -> list[Finding]:
    if engine.failure:
        fix = engine_fix(engine.name, engine.failure)
        return [_finding("reached", CheckState.BAD, engine.failure, fix)]
    latency = engine.facts.latency_ms
    timed = "" if latency is None else f" in {latency:.1f} ms"
    models = f"{len(engine.models)} models" if len(engine.models) != 1 else "1 model"
    detail = f"{engine.name} answers{timed}, with {models}"
    findings = [_finding("reached", CheckState.OK, detail)]
    host = addresses.host_of(engine.name.partition(":")[2])
    if engine.kind == "ollama" and not addresses.is_local(host):
        detail = f"Ollama asks nobody for a key: who reaches {host} can use and delete its models"
        fix = f"llmctl tunnel --host root@{host}:22"
        findings.append(_finding("exposed", CheckState.NOTE, detail, fix))
    return [*findings, *_memory(engine.facts.loaded)]


def _memory(loaded: Sequence[LoadedModel]) -> list[Finding]:
    state, trouble, fix = backend_trouble(loaded)
    return [_finding("memory", state, trouble, fix)] if trouble else []


def answering_model(seen: Sequence[SeenEngine], config: ModelConfig) -> EngineModel | None:
    """Return what would answer Claude Code; None where nothing would."""
    answering = [engine.models for engine in seen if not engine.failure]
    try:
        return choose(_ASKED, answering, config)[0][1] if answering else None
    except ApiError:
        return None


def _model_findings(engines: Sequence[SeenEngine], config: ModelConfig) -> list[Finding]:
    """Look for what would answer Claude Code, and for its window."""
    try:
        _, model = choose(_ASKED, [engine.models for engine in engines], config)[0]
    except ApiError as missing:
        wanted = config.name or "qwen3-coder"
        return [_finding("model", CheckState.BAD, missing.message, f"ollama pull {wanted}")]
    findings = [_finding("model", CheckState.OK, f"{model.name} answers for claude-*")]
    if "tools" not in model.capabilities:
        detail = f"{model.name} knows no tools, and Claude Code works by them"
        findings = [_finding("model", CheckState.BAD, detail, "ollama pull qwen3-coder")]
    window = context_tokens(model, config)
    in_memory = next(
        (one for each in engines for one in each.facts.loaded if one.name == model.name), None
    )
    findings.append(context_finding(model.name, window))
    if in_memory and in_memory.context_tokens and in_memory.context_tokens < window:
        detail = (
            f"{model.name} is loaded with {in_memory.context_tokens:,} tokens and is asked for "
            f"{window:,}: the next request loads it again"
        )
        findings.append(_finding("context", CheckState.NOTE, detail))
    return findings


def context_finding(model: str, window: int) -> Finding:
    """Compare a window with what Claude Code needs for its own prompt."""
    detail = f"{model} has a window of {window:,} tokens"
    if window < LEAST_CONTEXT:
        detail += f"; Claude Code's instructions and tools alone need {LEAST_CONTEXT:,}"
        return _finding("context", CheckState.BAD, detail, "llmctl serve --num-ctx 65536")
    if window < DEFAULT_CONTEXT:
        detail += f"; below {DEFAULT_CONTEXT:,} Claude Code sums up its work often"
        return _finding("context", CheckState.NOTE, detail, "llmctl serve --num-ctx 65536")
    return _finding("context", CheckState.OK, f"{detail}, enough for Claude Code")


def context_tokens(model: EngineModel, config: ModelConfig) -> int:
    """Return the window the proxy would ask for: the configured one, no more than was trained."""
    wanted = config.num_ctx or DEFAULT_CONTEXT
    return min(wanted, model.context_length or wanted)


def _upgrade(where: str) -> str:
    host = addresses.host_of(where.partition(":")[2])
    command = "curl -fsSL https://ollama.com/install.sh | sh"
    return command if addresses.is_local(host) else f"ssh {host} '{command}'"


def _finding(name: str, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=SECTION, name=name, state=state, detail=detail, fix=fix)
