"""Answers that are JSON and make no sense, call by call."""

import pytest

from llmctl.core.errors import AuthError, NotFound, OutcomeUnknown, ProviderError
from tests.contract.bed import Bed
from tests.emulators.vast import VastEmulator
from tests.unit.providers.vast.rows import ASK, CONTRACT


async def test_an_account_without_money_to_read(bed: Bed):
    for credit in (None, "12", float("nan")):
        bed.poison("account", {"id": 1, "credit": credit})
        with pytest.raises(ProviderError, match="without its credit"):
            await bed.provider.account()


async def test_offers_of_which_none_can_be_read(bed: Bed):
    bed.poison("offers", {"offers": [{}, {"id": 1}]})
    with pytest.raises(ProviderError, match="none of vast.ai's 2 offers"):
        await bed.provider.offers(bed.wish())


async def test_offers_of_which_one_cannot_be_read(bed: Bed, caplog: pytest.LogCaptureFixture):
    bed.poison("offers", {"offers": [{"id": 1}, ASK]})
    assert len(await bed.provider.offers(bed.wish())) == 1
    assert "1 of vast.ai's offers cannot be read" in caplog.text


async def test_a_list_without_end(bed: Bed):
    bed.poison("list", {"instances": [CONTRACT], "next_token": "25"}, times=-1)
    with pytest.raises(ProviderError, match="in circles"):
        await bed.provider.instances()


async def test_a_list_that_failed_with_status_200(bed: Bed):
    bed.poison("list", {"success": False, "error": "busy", "instances": []})
    with pytest.raises(ProviderError, match="busy"):
        await bed.provider.instances()


async def test_another_instance_than_the_one_asked_for(bed: Bed):
    bed.poison("get", {"instances": CONTRACT})
    with pytest.raises(ProviderError, match="showed instance 30000001, asked for 7"):
        await bed.provider.get("7")


async def test_a_404_that_says_that_there_is_none(bed: Bed):
    bed.poison("get", "gone")
    assert await bed.provider.get("7") is None


async def test_a_create_that_names_no_contract(bed: Bed):
    bed.poison("create", {"success": True, "new_contract": None})
    with pytest.raises(OutcomeUnknown, match="names no contract"):
        await bed.rent()


async def test_a_contract_without_a_key_of_its_own(bed: Bed):
    bed.poison("create", {"success": True, "new_contract": 7})
    created = await bed.provider.create(bed.order(await bed.offer()))
    assert (created.id, created.instance_key) == ("7", None)


async def test_stopping_is_refused(bed: Bed):
    instance = await bed.up()
    bed.poison("stop", {"success": False, "msg": "busy"})
    with pytest.raises(ProviderError, match=f"cannot stop instance {instance.id}: busy"):
        await bed.provider.stop(instance.id)


async def test_destroying_what_is_gone_with_status_200(bed: Bed):
    bed.poison("destroy", {"success": False, "error": "no_such_instance"})
    await bed.provider.destroy("7")
    assert bed.calls("destroy") == 1


async def test_no_logs(bed: Bed, vast: VastEmulator):
    instance = await bed.up()
    bed.poison("logs", {"success": True})
    with pytest.raises(ProviderError, match="gives no logs"):
        await bed.provider.logs(instance.id, lines=1)
    bed.poison("logs", {"success": True, "result_url": "http://127.0.0.1:1/x"})
    with pytest.raises(ProviderError, match="cannot read vast.ai's upload"):
        await bed.provider.logs(instance.id, lines=1)
    with pytest.raises(NotFound):
        await bed.provider.logs("7", lines=1)


async def test_a_key_that_needs_a_second_factor(bed: Bed):
    bed.poison("account", "two_factor")
    with pytest.raises(AuthError, match="Two Factor") as refused:
        await bed.provider.account()
    assert "API key" in refused.value.hint
