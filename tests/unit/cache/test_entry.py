import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.entry import Entry, EntryMeta, describe, id_of, pack, unpack

META = EntryMeta(tenant="ada", model="qwen", excerpt="Grüße", prompt_tokens=3, total_ms=1.5)


@given(st.binary(max_size=100), st.floats(0, 4e9), st.floats(0, 4e9))
def test_what_is_packed_is_unpacked(body, created, expires):
    entry = Entry(created=created, expires=expires, described=describe(META), body=body)
    assert unpack(pack(entry)) == entry
    assert unpack(pack(entry)).meta() == META


@given(st.binary(max_size=60))
def test_junk_is_no_entry_or_one_whose_parts_are_its_bytes(junk):
    found = unpack(junk)
    assert found is None or pack(found) == junk


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_description_that_is_cut_is_no_entry(cut):
    whole = pack(Entry(created=1.0, expires=2.0, described=describe(META), body=b""))
    assert unpack(whole[:-cut]) is None


def test_a_description_of_another_kind_is_told():
    entry = Entry(created=1.0, expires=2.0, described=b"\xc1", body=b"")
    with pytest.raises(msgspec.MsgspecError):
        entry.meta()


def test_a_newer_version_may_describe_more():
    described = msgspec.msgpack.encode(msgspec.to_builtins(META) | {"mood": "good"})
    assert Entry(created=1.0, expires=2.0, described=described, body=b"").meta() == META


def test_ids_are_the_first_digits():
    assert id_of(bytes.fromhex("00ff12345678") + b"rest") == "00ff12345678"
