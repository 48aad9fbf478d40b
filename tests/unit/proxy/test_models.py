"""Pages of ``/v1/models``."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.proxy.models import model_page, one_model

NAMES = [f"model-{number}" for number in range(50)]


class Pipeline:
    """As much of one as pages need: every name is an alias of one model."""

    def __init__(self, names: list[str] = NAMES) -> None:
        self.pool = SimpleNamespace(names=lambda: names)

    def route(self, name: str) -> SimpleNamespace:
        if name not in self.pool.names():
            raise ApiError(404, f"model: {name}")
        capabilities = frozenset({"tools", "completion"})
        model = EngineModel(name="model-0", digest="d", capabilities=capabilities)
        return SimpleNamespace(model=model)

    def window(self, _model: EngineModel) -> int:
        return 65536


def ids(page) -> list[str]:
    return [row["id"] for row in page["data"]]


def test_the_default_is_twenty():
    page = model_page(Pipeline(), {})
    assert ids(page) == NAMES[:20]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, "model-0", "model-19")


@given(limit=st.integers(1, 60))
def test_walking_forward_meets_every_model_once(limit):
    seen, query = [], {"limit": str(limit)}
    while True:
        page = model_page(Pipeline(), query)
        seen += ids(page)
        if not page["has_more"]:
            break
        query["after_id"] = page["last_id"]
    assert seen == NAMES


@given(limit=st.integers(1, 60))
def test_walking_back_meets_every_model_before_once(limit):
    seen, query = [], {"limit": str(limit), "before_id": NAMES[-1]}
    while True:
        page = model_page(Pipeline(), query)
        seen = ids(page) + seen
        if not page["has_more"]:
            break
        query["before_id"] = page["first_id"]
    assert seen == NAMES[:-1]


def test_no_models_is_an_empty_page():
    page = model_page(Pipeline([]), {"limit": "1000"})
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "", "ten", "1.5", "²", "١", "9" * 5000])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ApiError) as refused:
        model_page(Pipeline(), {"limit": limit})
    assert refused.value.status == 400


def test_a_row_names_the_model_behind_an_alias():
    row = one_model(Pipeline(), "model-7")
    assert (row["type"], row["display_name"]) == ("model", "model-7 (model-0)")
    assert row["capabilities"] == ["completion", "tools"]
    assert one_model(Pipeline(), "model-0")["display_name"] == "model-0"
    with pytest.raises(ApiError):
        one_model(Pipeline(), "model-99")
