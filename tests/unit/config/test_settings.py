from pathlib import Path

import msgspec
import pytest

from llmctl.config.names import CUSTOMARY, FLAGS, env_name
from llmctl.config.schema import Config
from llmctl.config.settings import all_settings, convert

SETTINGS = all_settings()


def test_every_field_of_the_schema_is_a_setting():
    def keys(table: msgspec.Struct, prefix: str = "") -> set[str]:
        found = set()
        for field in msgspec.structs.fields(table):
            inner = getattr(table, field.name)
            key = prefix + field.name
            found |= keys(inner, f"{key}.") if isinstance(inner, msgspec.Struct) else {key}
        return found

    assert keys(Config()) <= SETTINGS.keys()
    assert "cache.semantic.mode" in SETTINGS
    assert {"backend", "backend.parallel", "backend.queue", "profile"} <= SETTINGS.keys()


def test_profiles_are_read_with_durations_and_prices_as_people_write_them():
    tables = {"night": {"gpu": "h100", "ttl_s": "10h", "max_price": 2.5}, "day": {"spot": True}}
    found = convert(SETTINGS["profile"], tables)
    assert (found["night"].ttl_s, found["night"].max_price) == (36000, "2.5")
    assert (found["day"].spot, found["day"].gpu) == (True, None)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"ttl_s": "soon"}, "night.ttl_s: expected a duration"),
        ({"gpuu": "h100"}, "unknown field `gpuu`"),
        ({"max_price": True}, "expected `str"),
        ("h100", "expected `object`"),
    ],
)
def test_profiles_that_cannot_be_used_say_why(table, reason):
    with pytest.raises(ValueError, match=reason):
        convert(SETTINGS["profile"], {"night": table})


def test_prices_are_kept_as_they_were_written():
    assert convert(SETTINGS["rent.max_price"], 0.35) == "0.35"
    assert convert(SETTINGS["rent.max_price"], "1.10") == "1.10"


def test_flags_and_customary_names_belong_to_settings():
    assert FLAGS.keys() <= SETTINGS.keys()
    assert CUSTOMARY.keys() <= SETTINGS.keys()


def test_variables_are_named_after_keys():
    assert env_name("serve.port") == "LLMCTL_SERVE_PORT"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("serve.port", "8080", 8080),
        ("serve.auth", "false", False),
        ("serve.auth", "1", True),
        ("serve.listen", "0.0.0.0", "0.0.0.0"),
        ("serve.allowed_hosts", "a.example, b.example,", ["a.example", "b.example"]),
        ("model.name", "null", "null"),
        ("model.num_ctx", "65536", 65536),
        ("model.aliases", "fast=qwen:7b, smart=qwen:32b", {"fast": "qwen:7b", "smart": "qwen:32b"}),
        ("cache.ttl_s", "1h30m", 5400),
        ("cache.max_bytes", "2GiB", 2 * 1024**3),
        ("serve.max_body_bytes", "1MB", 1_000_000),
        ("model.keep_alive", "300", "300s"),
        ("cache.store", "redis", "redis"),
    ],
)
def test_text_becomes_what_the_setting_holds(key, text, expected):
    assert convert(SETTINGS[key], text) == expected


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("serve.port", "http", "expected `int`$"),
        ("serve.port", 70000, "expected `int` <= 65535"),
        ("serve.port", True, "got `bool`"),
        ("serve.auth", "maybe", "expected `bool`$"),
        ("cache.store", "disk", "expected one of auto, sqlite, redis, memory"),
        ("cache.ttl_s", "soon", "expected a duration"),
        ("cache.ttl_s", float("nan"), "expected `float` > 0"),
        ("cache.ttl_s", float("inf"), "expected `float` <="),
        ("timeouts.idle_s", 0, "expected `float` > 0"),
        ("cache.max_bytes", -1, "expected `int` >= 0"),
        ("model.aliases", "fast", "expected name=value"),
        ("model.num_ctx", "0", "expected `int` >= 1"),
        ("backend", 3, "expected `array`"),
        ("backend", [{"ulr": "x"}], "unknown field"),
    ],
)
def test_what_a_setting_cannot_hold(key, value, reason):
    with pytest.raises(ValueError, match=reason):
        convert(SETTINGS[key], value)


def test_the_documentation_lists_every_setting_and_flag():
    text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert {
        key for key in SETTINGS if not any(row.startswith(f"| `{key}` |") for row in rows)
    } == set()
    for key, flag in FLAGS.items():
        assert any(row.startswith(f"| `{key}` |") and f"`{flag}`" in row for row in rows), key
