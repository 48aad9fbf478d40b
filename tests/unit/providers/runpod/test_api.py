"""What is sent and sent again, and what the answers become: over a transport without sockets."""

import json
from collections.abc import Callable

import httpx
import pytest

from llmctl.core.errors import NoCapacity, NotFound, OutcomeUnknown, ProviderError
from llmctl.core.rental import InstanceState, OfferWish
from llmctl.providers.base import SupportsStop
from llmctl.providers.runpod.adapter import RunPodProvider
from llmctl.providers.runpod.api import Api
from tests.unit.providers.runpod.rows import gpu_document, pod_document

Answer = httpx.Response | Exception


class Line:
    """Answers requests from a list, the last one for ever, and keeps them."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], httpx.Response]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @property
    def options(self) -> dict:
        transport = httpx.MockTransport(self._answer)
        return {"key_hint": "test, …0000", "sleep": self._sleep, "transport": transport}

    @property
    def api(self) -> Api:
        return Api("rpa_key", **self.options)

    @property
    def provider(self) -> RunPodProvider:
        return RunPodProvider("rpa_key", **self.options)


def ok(document: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document)


def problem(status: int, detail: str = "words", **headers: str) -> httpx.Response:
    body = {"title": "Error", "status": status, "detail": detail}
    return httpx.Response(status, json=body, headers=headers)


NO_PODS = {"pods": []}
PAGE = httpx.Response(200, html="<html>Just a moment...</html>")


async def test_the_key_goes_along(monkeypatch):
    monkeypatch.setenv("RUNPOD_API_BASE_URL", "https://mirror.test/")
    line = Line(ok(NO_PODS))
    assert await line.api.pods() == []
    (request,) = line.requests
    assert str(request.url) == "https://mirror.test/v2/pods?includeClusterPods=true"
    assert request.headers["Authorization"] == "Bearer rpa_key"


async def test_the_address_is_runpods_by_default(monkeypatch):
    monkeypatch.delenv("RUNPOD_API_BASE_URL", raising=False)
    line = Line(ok(NO_PODS))
    await line.api.pods()
    assert line.requests[0].url.host == "api.runpod.io"


@pytest.mark.parametrize(
    "first", [problem(429), problem(500), problem(503), httpx.ReadError("reset"), PAGE]
)
async def test_a_read_is_tried_again_unless_the_answer_is_no_answer(first):
    line = Line(first, ok(NO_PODS))
    if first is PAGE:
        with pytest.raises(ProviderError, match="cannot be read"):
            await line.api.pods()
        assert len(line.requests) == 1
    else:
        assert await line.api.pods() == []
        assert len(line.slept) == 1


async def test_a_read_gives_up_after_three_attempts():
    line = Line(problem(503))
    with pytest.raises(ProviderError, match="HTTP 503: words") as caught:
        await line.api.pods()
    assert caught.value.retryable
    assert len(line.requests) == 3
    assert line.slept == [1.0, 2.0]


async def test_a_silent_service_is_named():
    line = Line(httpx.ReadTimeout(""))
    with pytest.raises(ProviderError, match="cannot be asked for the list of pods: ReadTimeout"):
        await line.api.pods()


async def test_a_short_retry_after_is_waited_for_and_a_long_one_is_not():
    line = Line(problem(429, **{"Retry-After": "7"}), ok(NO_PODS))
    await line.api.pods()
    assert line.slept == [7.0]
    line = Line(problem(429, **{"Retry-After": "3600"}))
    with pytest.raises(ProviderError):
        await line.api.pods()
    assert line.slept == []


@pytest.mark.parametrize(
    "answer", ['""', "null", "[]", '[{"id": "abc"}]', "{}", '{"pods": null}', '{"pods": [{}]}', ""]
)
async def test_an_unreadable_list_is_never_empty(answer):
    with pytest.raises(ProviderError, match="cannot be read"):
        await Line(httpx.Response(200, text=answer)).provider.instances()


async def test_half_a_list_is_none():
    line = Line(ok({"pods": [pod_document()], "nextToken": "abc"}))
    with pytest.raises(ProviderError, match="only the first 1 pods"):
        await line.provider.instances()


async def test_what_was_terminated_is_not_listed():
    gone = pod_document(id="gone", status="TERMINATED")
    line = Line(ok({"pods": [pod_document(), gone]}))
    assert [each.id for each in await line.provider.instances()] == ["7h9k2m4n6p"]
    assert await Line(ok(gone)).provider.get("gone") is None


async def test_only_the_apis_own_404_means_gone():
    assert await Line(problem(404)).provider.get("x") is None
    with pytest.raises(ProviderError):
        await Line(httpx.Response(404, html="<html>not found</html>")).provider.get("x")


async def test_an_id_cannot_reach_another_path():
    line = Line(problem(404))
    await line.provider.get("../account/ssh-keys")
    assert line.requests[0].url.raw_path == b"/v2/pods/..%2Faccount%2Fssh-keys"


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ReadTimeout(""),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.RemoteProtocolError("closed"),
        problem(500),
        httpx.Response(502, html="<html>bad gateway</html>"),
        PAGE,
        httpx.Response(201, json=None),
        httpx.Response(201, json={"pod": {"id": "x"}}),
        httpx.Response(204),
    ],
)
async def test_a_lost_answer_to_a_create_is_unknown_and_it_is_sent_once(lost):
    line = Line(lost)
    with pytest.raises(OutcomeUnknown):
        await line.api.create({"name": "x"})
    assert len(line.requests) == 1


@pytest.mark.parametrize("unsent", [httpx.ConnectError("refused"), httpx.ConnectTimeout("")])
async def test_a_create_that_was_never_sent_is_no_unknown(unsent):
    line = Line(unsent)
    with pytest.raises(ProviderError) as caught:
        await line.api.create({"name": "x"})
    assert type(caught.value) is ProviderError
    assert caught.value.retryable
    assert len(line.requests) == 1


async def test_a_create_needs_only_the_id_of_its_answer():
    line = Line(ok({"id": "abc", "status": 7}, status=201))
    assert await line.api.create({"name": "x"}) == "abc"
    assert json.loads(line.requests[0].content) == {"name": "x"}


@pytest.mark.parametrize("answer", [PAGE, ok(None), httpx.Response(200, text="stopped, maybe")])
async def test_a_yes_that_is_none_of_the_apis_switches_nothing(answer):
    with pytest.raises(ProviderError):
        await Line(answer).provider.stop("abc")


@pytest.mark.parametrize("answer", [httpx.Response(204), problem(404)])
async def test_what_is_gone_is_destroyed(answer):
    line = Line(answer)
    await line.provider.destroy("abc")
    (request,) = line.requests
    assert (request.method, request.url.path) == ("DELETE", "/v2/pods/abc")


async def test_stop_and_start_ask_for_it():
    line = Line(ok(pod_document()))
    provider = line.provider
    assert isinstance(provider, SupportsStop)
    await provider.stop("abc")
    await provider.start("abc")
    assert [json.loads(each.content) for each in line.requests] == [
        {"action": "stop"},
        {"action": "start"},
    ]


@pytest.mark.parametrize(("action", "status"), [("stop", "EXITED"), ("start", "STARTING")])
async def test_a_conflict_with_what_is_wanted_anyway_is_success(action, status):
    line = Line(problem(409), ok(pod_document(status=status)))
    await getattr(line.provider, action)("abc")
    assert [each.method for each in line.requests] == ["POST", "GET"]


@pytest.mark.parametrize(("action", "status"), [("stop", "RUNNING"), ("start", "ERROR")])
async def test_another_conflict_is_told(action, status):
    line = Line(problem(409, "pod belongs to a cluster"), ok(pod_document(status=status)))
    with pytest.raises(ProviderError, match="belongs to a cluster"):
        await getattr(line.provider, action)("abc")


@pytest.mark.parametrize("action", ["stop", "start"])
async def test_what_is_not_there_can_be_neither_stopped_nor_started(action):
    with pytest.raises(NotFound, match="no pod abc"):
        await getattr(Line(problem(404)).provider, action)("abc")


async def test_a_taken_gpu_is_no_capacity():
    line = Line(problem(400, "There are not enough free GPUs on the host machine"))
    with pytest.raises(NoCapacity, match="not enough free GPUs"):
        await line.provider.start("abc")


async def test_both_clouds_are_asked_for_pods_of_that_size():
    line = Line(ok({"gpus": [gpu_document()]}))
    await line.provider.offers(OfferWish(gpus=("rtx4090",), gpu_count=2, disk_gb=60, min_cuda=12.4))
    assert sorted(str(each.url.query) for each in line.requests) == [
        f"b'include=AVAILABILITY&product=POD&count=2&cloud={cloud}&minCudaVersion=12.4'"
        for cloud in ("COMMUNITY", "SECURE")
    ]


async def test_private_homes_can_be_left_out():
    line = Line(ok({"gpus": [gpu_document()]}))
    found = await line.provider.offers(OfferWish(gpus=("rtx4090",), disk_gb=60, secure=True))
    assert len(line.requests) == 1
    assert all(each.secure for each in found)


async def test_a_volume_asks_its_data_centre_only():
    volume = {"id": "v1", "name": "v", "size": 100, "dataCenter": "US-KS-2", "type": "STANDARD"}
    line = Line(ok(volume), ok({"gpus": [gpu_document()]}))
    found = await line.provider.offers(OfferWish(gpus=("rtx4090",), disk_gb=60, volume="v1"))
    assert [each.region for each in found] == ["US-KS-2"]
    assert len(line.requests) == 2


async def test_a_volume_that_is_not_there_is_named():
    with pytest.raises(NotFound, match="no network volume 'v1'"):
        await Line(problem(404)).provider.offers(
            OfferWish(gpus=("rtx4090",), disk_gb=60, volume="v1")
        )


async def test_spot_is_refused_before_anything_is_asked():
    line = Line(ok(NO_PODS))
    with pytest.raises(NoCapacity, match="no spot"):
        await line.provider.offers(OfferWish(gpus=("rtx4090",), disk_gb=60, spot=True))
    assert line.requests == []


async def test_logs_are_the_lines_of_the_events():
    events = [
        b': keep-alive\n\nid: 1\ndata: {"source":"system","line":"pulling image"}\n\n',
        b'id: 2\ndata: {"source":"container","line":"Pod Started","ts":"x"}\n\n',
    ]
    kind = {"Content-Type": "text/event-stream"}
    line = Line(lambda _: httpx.Response(200, content=b"".join(events), headers=kind))
    assert await line.provider.logs("abc", lines=10) == ["pulling image", "Pod Started"]
    assert await line.provider.logs("abc", lines=1) == ["pulling image"]
    assert dict(line.requests[0].url.params) == {"tail": "10"}


async def test_logs_of_what_is_not_there_are_an_error():
    with pytest.raises(ProviderError, match="HTTP 404"):
        await Line(problem(404)).provider.logs("abc", lines=10)


async def test_the_states_the_caller_sees():
    found = await Line(ok(pod_document(status="ERROR"))).provider.get("abc")
    assert found is not None
    assert found.state is InstanceState.FAILED
    assert "abc" in Line(ok(NO_PODS)).provider.console_url("abc")
