"""The real small model for tests: fetched once, from the ordinary package index, and kept.

``LLMCTL_TEST_MODEL_DIR`` names the directory it is kept in; without it that is one of its own
below the user's cache directory, so that a hundred runs download it once.
"""

import importlib.util
import os
from pathlib import Path

import platformdirs
import pytest

from llmctl.backend.embedded.weights import ensure_model
from llmctl.core.errors import LlmctlError

# read while tests are collected: every test has an environment of its own
MODEL_DIR = Path(
    os.environ.get("LLMCTL_TEST_MODEL_DIR") or platformdirs.user_cache_path("llmctl-tests")
)


@pytest.fixture(scope="session")
def small_model() -> Path:
    """Path of SmolLM2-135M-Instruct; skips where it or the engine for it cannot be had."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the embedded engine is not installed: pip install 'llmctl[embedded]'")
    try:
        return ensure_model(MODEL_DIR, progress=lambda _: None)
    except LlmctlError as exc:
        pytest.skip(f"the small model cannot be had: {exc.message}")
