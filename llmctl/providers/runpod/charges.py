"""RunPod's billing records, and what they mean; pure.

One record is one pod over one bucket of time. Its times are the bucket's, not the pod's: a pod that
ran for ten minutes is billed in a bucket of an hour.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.billing import Charge
from llmctl.core.errors import ProviderError
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import ProviderName

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
ROUNDING = MicroUsd(1)
"""Amounts are floats with more decimals than micro-dollars."""
_HOURLY_S = 32 * DAY_S
"""Longer ranges are asked for by the day: by the hour an answer would have thousands of rows."""


class BillingRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """One record."""

    pod_id: str
    start_time: str
    end_time: str | None = None
    total_amount: float


class BillingRecords(Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer, which v2 gives whole."""

    records: list[BillingRecord]
    next_token: str | None = None
    next_cursor: str | None = None


def window(since: float, until: float) -> dict[str, Any]:
    """Return the query for a range; v2 widens it to whole buckets."""
    bucket = "hour" if until - since <= _HOURLY_S else "day"
    return {"startTime": _text(since), "endTime": _text(until), "bucketSize": bucket}


def read_records(body: bytes, bucket: str) -> list[Charge]:
    """Return the charges of an answer; raises ``ProviderError`` for what is none, or not all."""
    try:
        found = msgspec.json.decode(body, type=BillingRecords)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise ProviderError(f"RunPod's bill cannot be read: {failure}", retryable=True) from failure
    if found.next_token or found.next_cursor:
        raise ProviderError(
            f"RunPod gave only the first {len(found.records)} lines of its bill",
            hint="update llmctl",
        )
    length_s = HOUR_S if bucket == "hour" else DAY_S
    return [_charge(each, length_s) for each in found.records]


def _charge(record: BillingRecord, length_s: float) -> Charge:
    begins = _moment(record.start_time)
    ends = begins + length_s if record.end_time is None else _moment(record.end_time)
    return Charge(
        provider=ProviderName.RUNPOD,
        instance_id=record.pod_id,
        begins=begins,
        ends=max(begins, ends),
        amount=micro_usd(record.total_amount),
        rounding=ROUNDING,
    )


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ProviderError(f"RunPod's bill has a time that is none: {text!r}") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
