import pytest

from llmctl.core.errors import ProviderError
from llmctl.core.rental import ProviderName
from llmctl.providers.vast.charges import days, read_charges

ROW = {
    "start": 1_800_000_000.0,
    "end": 1_800_003_600.5,
    "type": "instance",
    "source": "instance-77",
    "amount": 0.344,
    "metadata": {"label": "llmctl/0a1b2c3d/ff"},
    "items": [
        {"type": "gpu", "amount": 0.3},
        {"type": "disk", "amount": 0.012},
        {"type": "bwd", "amount": 0.03},
        {"type": "bwu", "amount": 0.002},
    ],
}


def page(*rows, **more):
    return {"results": list(rows), "next_token": None} | more


def test_a_row_becomes_a_charge_to_the_micro_dollar():
    ((charge,), token) = read_charges(page(ROW))
    assert token is None
    assert charge.provider is ProviderName.VAST
    assert (charge.instance_id, charge.label) == ("77", "llmctl/0a1b2c3d/ff")
    assert (charge.begins, charge.ends) == (1_800_000_000.0, 1_800_003_600.5)
    assert (charge.amount, charge.traffic, charge.rounding) == (344_000, 32_000, 500)


@pytest.mark.parametrize("metadata", [None, {}, {"label": None}, "text", [1]])
def test_a_label_may_be_missing(metadata):
    ((charge,), _) = read_charges(page(ROW | {"metadata": metadata}))
    assert charge.label == ""


def test_what_is_no_instance_is_left_out():
    assert read_charges(page(ROW | {"source": "volume-9"})) == ([], None)


def test_the_next_page_is_told():
    assert read_charges(page(ROW, next_token="abc"))[1] == "abc"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        [],
        {},
        {"results": None},
        {"success": False, "error": "invalid_args", "msg": "day needs gte and lte"},
        page({"source": "instance-1"}),
        page(ROW | {"amount": "a lot"}),
        page(ROW | {"amount": float("nan")}),
        page(ROW, next_token=7),
    ],
)
def test_what_cannot_be_read_is_not_free(answer):
    with pytest.raises(ProviderError):
        read_charges(answer)


def test_whole_utc_days_are_asked_for():
    begin = 20_833 * 86_400
    wanted = days(begin + 5.5, begin + 86_400 + 1)
    assert wanted["day"] == {"gte": begin, "lte": begin + 2 * 86_400 - 1}
    assert wanted["type"] == {"in": ["instance"]}
