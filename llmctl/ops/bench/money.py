"""What speed means at a price: dollars per million tokens, and when renting breaks even."""

from llmctl.core.money import HOUR_S, MicroUsd
from llmctl.core.reports_bench import BenchMoney, Figures, Mix
from llmctl.ops.prices import CloudPrice

_MILLION = 1_000_000


def worked_out(
    figures: Figures, mix: Mix, usd_per_hour: MicroUsd | None, cloud: CloudPrice
) -> BenchMoney | None:
    """Return what an hour at full speed yields and costs; None where too little is known.

    A request of the mix takes the wait for a prompt that the engine knows, the time to read what is
    new in it, and its share of the fastest writing.
    """
    fastest, cold, warm = figures.fastest, figures.cold, figures.warm
    if usd_per_hour is None or fastest is None or cold is None or warm is None:
        return None
    if not (fastest.tokens_per_s and cold.tokens_per_s):
        return None
    seconds = (
        warm.first_token_ms / 1000
        + mix.fresh / cold.tokens_per_s
        + mix.answer / fastest.tokens_per_s
    )
    requests = HOUR_S / seconds
    tokens = mix.prompt + mix.answer
    cloud_request = cloud.of(
        prompt=mix.prompt,
        completion=mix.answer,
        cached=mix.prompt - mix.fresh,
        written=mix.fresh,
    )
    break_even = usd_per_hour / max(cloud_request, 1)
    return BenchMoney(
        mix=mix,
        usd_per_hour=usd_per_hour,
        concurrency=fastest.concurrency,
        requests_per_hour=requests,
        usd_per_million_tokens=_per_million(usd_per_hour, requests * tokens),
        usd_per_million_answer_tokens=_per_million(usd_per_hour, fastest.tokens_per_s * HOUR_S),
        cloud_model=cloud.model,
        cloud_usd_per_million_tokens=_per_million(cloud_request, tokens),
        break_even_utilisation=break_even / requests,
        break_even_requests_per_hour=break_even,
    )


def parse_mix(text: str) -> Mix:
    """Read ``PROMPT:NEW:ANSWER`` tokens; raises ``ValueError``."""
    parts = text.replace(",", "").replace("_", "").split(":")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise ValueError("expected PROMPT:NEW:ANSWER, as in 20000:500:250")
    prompt, fresh, answer = map(int, parts)
    if not 0 < fresh <= prompt or answer < 1:
        raise ValueError("new tokens are a part of the prompt, and an answer has one at least")
    return Mix(prompt=prompt, fresh=fresh, answer=answer)


def _per_million(amount: float, tokens: float) -> MicroUsd:
    return MicroUsd(round(amount * _MILLION / tokens))
