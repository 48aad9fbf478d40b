import json

import pytest

from llmctl.core.errors import ProviderError
from llmctl.providers.runpod.charges import read_records, window

RECORD = {
    "podId": "pod1",
    "startTime": "2026-11-23T10:00:00Z",
    "endTime": "2026-11-23T11:00:00Z",
    "totalAmount": 0.34512349,
    "gpuAmount": 0.34,
    "cpuAmount": 0,
    "diskAmount": 0.00512349,
}
TEN = 1_795_428_000.0


def read(*records, bucket="hour", **more):
    return read_records(json.dumps({"records": list(records), **more}).encode(), bucket)


def test_a_record_becomes_a_charge_to_the_micro_dollar():
    (charge,) = read(RECORD)
    assert charge.instance_id == "pod1"
    assert (charge.begins, charge.ends) == (TEN, TEN + 3600)
    assert (charge.amount, charge.rounding) == (345_123, 1)


@pytest.mark.parametrize(("bucket", "length"), [("hour", 3600), ("day", 86400)])
def test_without_an_end_a_bucket_is_as_long_as_it_was_asked_for(bucket, length):
    (charge,) = read(RECORD | {"endTime": None}, bucket=bucket)
    assert charge.ends - charge.begins == length


@pytest.mark.parametrize(
    "body",
    [b"", b'""', b"null", b"[]", b"<html>", b"{}", b'{"records": [{"podId": "x"}]}', b"\xff"],
)
def test_what_cannot_be_read_is_not_free(body):
    with pytest.raises(ProviderError):
        read_records(body, "hour")


def test_half_a_bill_is_an_error():
    with pytest.raises(ProviderError, match="only the first 1"):
        read(RECORD, nextToken="abc")


def test_a_time_that_is_none_is_an_error():
    with pytest.raises(ProviderError, match="yesterday"):
        read(RECORD | {"startTime": "yesterday"})


def test_short_ranges_are_asked_for_by_the_hour():
    assert window(TEN, TEN + 86400) == {
        "startTime": "2026-11-23T10:00:00Z",
        "endTime": "2026-11-24T10:00:00Z",
        "bucketSize": "hour",
    }
    assert window(TEN, TEN + 90 * 86400)["bucketSize"] == "day"
