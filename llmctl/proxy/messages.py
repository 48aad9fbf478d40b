"""``POST /v1/messages``: one request from its bytes to its last byte.

Headers and ``message_start`` go out within ``Silence.grace_s`` even when the engine says nothing;
failures that show before that get a proper HTTP status, later ones an SSE ``error`` event.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web
from aiohttp.http_writer import StreamWriter
from msgspec import Struct

from llmctl.cache.policy import CacheUse, cache_use
from llmctl.core.clock import Clock
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.writer import LedgerWriter
from llmctl.protocol import ids, sse
from llmctl.protocol.anthropic import Message, StopReason, TokenUsage
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.protocol.message import Replay
from llmctl.protocol.sse import Frame
from llmctl.proxy.body import BodyLimits, read_body
from llmctl.proxy.broadcast import Deliver, Generation, Listener
from llmctl.proxy.genai import log_request
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.pipeline import Ask, Pipeline
from llmctl.proxy.responses import EVENT_STREAM, JSON, body_response

if TYPE_CHECKING:
    from llmctl.proxy.semantic import Found, Question

HURRY_S = 0.002
"""An engine that says something so soon does not wait until all of a new text is counted."""


class Record:
    """What the ledger will say about one request; filled in as it becomes known."""

    def __init__(self, clock: Clock, request_id: str, tenant: str) -> None:
        self.request_id = request_id
        self.tenant = tenant
        self.at = clock.now()
        self.arrived = clock.monotonic()
        self.asked = ""
        self.model = ""
        self.backend = ""
        self.stream = False
        self.cache = CacheOutcome.BYPASS
        self.meant: Found | None = None
        """The answer to another question, where that is what was given."""
        self.tokens = TokenUsage(input_tokens=0, output_tokens=0)
        self.first_token_ms: float | None = None
        self.status = 200
        self.error = ""
        self.reason = ""
        """What the client was told of the failure."""
        self.generation: Generation | None = None
        """What makes the answer, unless it was there already."""
        self.stop_reason: StopReason | None = None

    def answered(self, message: Message) -> None:
        self.model = message.model
        self.tokens = message.usage
        self.stop_reason = message.stop_reason

    def failed(self, error: ApiError) -> None:
        self.status, self.error, self.reason = error.status, error.type, error.message

    def gone(self) -> None:
        """The client has left, or was left after a failure that is known already."""
        if not self.error:
            self.status, self.error = 499, "client_gone"

    def first_content(self, at: float | None) -> None:
        """Take the moment of the first content; a late joiner had it at once."""
        if at is not None:
            self.first_token_ms = max(0.0, (at - self.arrived) * 1000)

    def usage(self, ended: float) -> Usage:
        tokens = self.tokens
        return Usage(
            at=self.at,
            request_id=self.request_id,
            tenant=self.tenant,
            model_asked=self.asked,
            model_used=self.model,
            backend=self.backend,
            stream=self.stream,
            prompt_tokens=tokens.input_tokens + tokens.cache_read_input_tokens,
            completion_tokens=tokens.output_tokens,
            cached_prompt_tokens=tokens.cache_read_input_tokens,
            cache=self.cache,
            first_token_ms=self.first_token_ms,
            total_ms=(ended - self.arrived) * 1000,
            status=self.status,
            error=self.error,
        )


class Task(Struct, frozen=True, kw_only=True):
    """A request that has to be generated."""

    ask: Ask
    raw_key: bytes
    use: CacheUse
    question: "Question | None" = None
    """What the semantic tier learns from the answer."""


class MessagesEndpoint:
    """Answers ``POST /v1/messages``."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        ledger: LedgerWriter | None,
        metrics: Metrics,
        clock: Clock,
        limits: BodyLimits,
    ) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._silence = pipeline.settings.silence
        self._activity = pipeline.activity
        self.draining = False
        """Whether new requests are refused."""

    async def answer(
        self, request: web.BaseRequest, tenant: str, request_id: str
    ) -> web.StreamResponse:
        """Answer one request; raises ``ApiError`` while a status can still be sent."""
        record = Record(self._clock, request_id, tenant)
        self._activity.open.add(record)
        try:
            if self.draining:
                raise overloaded("llmctl is shutting down", retry_after_s=5)
            known = await self._recall_or_understand(request, record)
            if isinstance(known, Replay):
                return self._replay(known, record)
            return await self._generate(request, known, record)
        except ApiError as error:
            record.failed(error)
            raise
        except (asyncio.CancelledError, ConnectionError):
            record.gone()
            raise
        except Exception:
            record.failed(ApiError(500, "internal error"))
            raise
        finally:
            ended = self._clock.monotonic()
            usage = record.usage(ended)
            self._activity.finished(record, usage, ended)
            self._metrics.record(usage)
            log_request(usage, record.stop_reason)
            if self._ledger is not None:
                self._ledger.append(usage)

    async def _recall_or_understand(
        self, request: web.BaseRequest, record: Record
    ) -> Replay | Task:
        """Return the cached answer, or what to do for a new one.

        The body is let go when this returns: a stream may last for minutes.
        """
        pipeline = self._pipeline
        body = await read_body(request, self._limits)
        use = cache_use(request.headers.get("Cache-Control"), enabled=pipeline.settings.cache)
        raw_key = pipeline.repeats.key(record.tenant, body) if use.write else b""
        if use.read and (known := await pipeline.recall(raw_key)) is not None:
            shortcut, replay = known
            record.asked, record.stream = shortcut.asked, shortcut.stream
            return replay
        ask = pipeline.understand(body, record.tenant)
        record.asked, record.stream = ask.asked, ask.stream
        found = await pipeline.lookup(ask, raw_key) if use.read else None
        if found is not None:
            return found
        question = pipeline.question(ask, use)
        if pipeline.semantic is not None and question is not None:
            record.meant = await pipeline.semantic.find(question)
            if record.meant is not None:
                return record.meant.replay
        return Task(ask=ask, raw_key=raw_key, use=use, question=question)

    def _replay(self, replay: Replay, record: Record) -> web.Response:
        record.cache = CacheOutcome.HIT if record.meant is None else CacheOutcome.SEMANTIC
        record.answered(replay.message)
        record.first_content(self._clock.monotonic())
        return body_response(
            replay.sse() if record.stream else replay.json(),
            content_type=EVENT_STREAM if record.stream else JSON,
            request_id=record.request_id,
            headers=_headers(record),
        )

    async def _generate(
        self, request: web.BaseRequest, task: Task, record: Record
    ) -> web.StreamResponse:
        generation, record.cache = self._pipeline.generation(
            task.ask, task.raw_key, task.use, task.question
        )
        record.generation = generation
        listener = generation.join(frames=record.stream)
        try:
            if record.stream:
                return await self._stream(request, generation, listener, record)
            return await self._whole(request, generation, listener, record)
        finally:
            generation.leave(listener)
            record.backend = generation.engine_name
            record.first_content(generation.first_content_at)
            if generation.message is not None:
                record.answered(generation.message)

    async def _stream(
        self,
        request: web.BaseRequest,
        generation: Generation,
        listener: Listener,
        record: Record,
    ) -> web.StreamResponse:
        # The engine is asked in the next two turns of the loop, and works while we count.
        for _ in range(2):
            await asyncio.sleep(0)
        prompt_tokens = generation.prompt_tokens(hurry=True)
        if not await listener.first(HURRY_S):
            prompt_tokens = generation.prompt_tokens()
            await listener.first(self._silence.grace_s - HURRY_S)
        if generation.error is not None and not generation.begun:
            raise generation.error
        response = _begin(request, EVENT_STREAM, record)
        writer = await response.prepare(request)
        start = sse.message_start(
            ids.message_id(),
            model=generation.model_name,
            usage=TokenUsage(input_tokens=prompt_tokens, output_tokens=0),
        )
        # Writing waits for a slow client; ``server.Connection`` ends it when one takes nothing.
        await response.write(start + sse.join(listener.take()))
        if isinstance(writer, StreamWriter):
            listener.deliver_with(_at_once(request, writer))
        self._metrics.streams += 1
        try:
            while (frames := await listener.next()) is not None:
                await response.write(sse.join(frames))
        finally:
            self._metrics.streams -= 1
        if generation.error is not None:
            record.failed(generation.error)
        await response.write_eof()
        return response

    async def _whole(
        self,
        request: web.BaseRequest,
        generation: Generation,
        listener: Listener,
        record: Record,
    ) -> web.StreamResponse:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._silence.blank_s):
                await listener.end()
        if not generation.ended:
            return await self._trickle(request, generation, listener, record)
        if generation.error is not None:
            raise generation.error
        return body_response(
            generation.replay().json(),
            content_type=JSON,
            request_id=record.request_id,
            headers=_headers(record),
        )

    async def _trickle(
        self,
        request: web.BaseRequest,
        generation: Generation,
        listener: Listener,
        record: Record,
    ) -> web.StreamResponse:
        """Keep a non-stream client with white space, which JSON allows before a document."""
        response = _begin(request, JSON, record)
        await response.prepare(request)
        while not generation.ended:
            await response.write(b" ")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._silence.blank_s):
                    await listener.end()
        if generation.error is not None:
            # The status is out: a broken connection is the only honest failure left.
            record.failed(generation.error)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError(generation.error.message)
        await response.write(generation.replay().json())
        await response.write_eof()
        return response


def _at_once(request: web.BaseRequest, writer: StreamWriter) -> Deliver:
    """Return a writer for a client that keeps up; one that does not is awaited by its own task."""

    def deliver(frames: list[Frame]) -> bool:
        transport = request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        writing = writer.write(sse.join(frames), drain=False)
        try:
            # Without draining nothing is awaited: the coroutine ends in its first step.
            writing.send(None)
        except StopIteration:
            return True
        except ConnectionError:
            return False
        raise AssertionError("aiohttp waited in a write that does not drain")

    return deliver


def _begin(request: web.BaseRequest, content_type: str, record: Record) -> web.StreamResponse:
    headers = {"Content-Type": content_type, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    headers |= {"request-id": record.request_id} | _headers(record)
    response = web.StreamResponse(headers=headers)
    if request.version < HttpVersion11:
        # Without chunks only the end of the connection tells the end of the answer.
        response.force_close()
    return response


def _headers(record: Record) -> dict[str, str]:
    headers = {"x-llmctl-cache": record.cache.value}
    if record.meant is not None:
        headers["x-llmctl-cache-similarity"] = f"{record.meant.similarity:.3f}"
        headers["x-llmctl-cache-source"] = record.meant.source
    return headers
