"""One log line per finished request, with OpenTelemetry's names for its fields.

Names and meanings: OpenTelemetry semantic conventions for generative AI, status development. Never
any text of a prompt or an answer. Written at INFO, so ``serve --json -v`` has it and ``serve`` has
not.
"""

import logging

from llmctl.core.logs import ATTRIBUTES
from llmctl.core.usage import Usage
from llmctl.protocol.anthropic import StopReason

log = logging.getLogger(__name__)

OURSELVES = "llmctl"
"""The provider of an answer for which no engine was asked."""


def log_request(usage: Usage, stop_reason: StopReason | None) -> None:
    """Log one request that has ended, if anybody listens."""
    if not log.isEnabledFor(logging.INFO):
        return
    log.info(
        "%d %s %s %d+%d tokens in %.0f ms",
        usage.status,
        usage.cache.value,
        usage.model_used or usage.model_asked or "-",
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_ms,
        extra={ATTRIBUTES: attributes(usage, stop_reason)},
    )


def attributes(usage: Usage, stop_reason: StopReason | None) -> dict[str, object]:
    """Return the fields of one request; those that are not known are left out."""
    kind = usage.backend.partition(":")[0]
    found: dict[str, object] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": kind or OURSELVES,
        "gen_ai.request.model": usage.model_asked,
        "gen_ai.request.stream": usage.stream,
        "gen_ai.response.model": usage.model_used,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_prompt_tokens,
        "http.response.status_code": usage.status,
        "error.type": usage.error,
        "request_id": usage.request_id,
        "llmctl.tenant": usage.tenant,
        "llmctl.backend": usage.backend,
        "llmctl.cache": usage.cache.value,
        "llmctl.duration_s": round(usage.total_ms / 1000, 6),
    }
    if stop_reason is not None:
        found["gen_ai.response.finish_reasons"] = [stop_reason]
    if usage.stream and usage.first_token_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = round(usage.first_token_ms / 1000, 6)
    return {name: value for name, value in found.items() if value != ""}
