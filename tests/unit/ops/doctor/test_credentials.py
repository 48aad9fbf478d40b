import pytest

from llmctl.core.money import MicroUsd
from llmctl.core.paths import find_paths
from llmctl.core.rental import Account, Phase, ProviderName
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.credentials import account_finding, credential_findings
from tests.unit.ops.machines import a_rental

VAST = ProviderName.VAST
HINT = "VAST_API_KEY, ends in 1234"


def judged(credit, rented=(), burn=None):
    account = Account(
        credit=None if credit is None else MicroUsd(credit),
        usd_per_hour=None if burn is None else MicroUsd(burn),
    )
    return account_finding(VAST, account, rented, key_hint=HINT)


@pytest.mark.parametrize(
    ("credit", "state"),
    [(36_000_000, CheckState.OK), (1_000_000, CheckState.NOTE), (100_000, CheckState.BAD)],
)
def test_hours_left_at_what_runs_now(credit, state):
    assert judged(credit, [a_rental()]).state is state


def test_the_sentence():
    found = judged(720_000, [a_rental()])
    assert found.detail == (f"the key is taken ({HINT}); $0.72 left, 2.0 hours at $0.360/h")
    assert found.fix == "add credit at https://cloud.vast.ai/billing/, or llmctl down --all"


def test_what_stands_still_costs_its_own_price():
    assert "at $0.012/h" in judged(720_000, [a_rental(phase=Phase.STOPPED)]).detail


def test_the_market_knows_of_more_than_we_do():
    assert "at $2.000/h" in judged(10_000_000, [a_rental()], burn=2_000_000).detail


def test_nothing_runs():
    assert judged(720_000).detail.endswith("$0.72 left, nothing runs")


def test_debts_are_no_hours():
    assert "0.0 hours" in judged(-5_000_000, [a_rental()]).detail


def test_a_market_that_keeps_it_to_itself():
    found = judged(None, [a_rental()])
    assert found.state is CheckState.OK
    assert found.detail.endswith("the market does not say what is left")


async def test_no_key_and_nothing_there(tmp_path):
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    (found,) = await credential_findings(VAST, {}, paths, [])
    assert (found.state, found.fix) == (CheckState.UNKNOWN, "llmctl auth login vast")


async def test_no_key_and_something_is_billed(tmp_path):
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    (found,) = await credential_findings(VAST, {}, paths, [a_rental()])
    assert (found.state, found.detail) == (
        CheckState.BAD,
        "no key, and main may be billed there",
    )


async def test_a_key_others_can_read(tmp_path):
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    key = paths.data / "keys" / "vast.key"
    key.parent.mkdir(parents=True)
    key.write_text("secret-key")
    key.chmod(0o644)
    (found,) = await credential_findings(VAST, {}, paths, [])
    assert (found.state, found.fix) == (CheckState.BAD, f"chmod 600 {key}")
    assert "secret-key" not in found.detail
