from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.config.load import Loaded, load
from llmctl.config.schema import ProfileConfig
from llmctl.core.errors import AuthError, ConfigError, NotFound
from llmctl.core.rental import ProviderName, SshAddress
from llmctl.ops.rent.spec import BUILT_IN, find_profile, make_spec, parse_host, profiles
from tests.unit.ops.machines import a_rental
from tests.unit.ops.rent.stage import a_spec

BOTH = {ProviderName.VAST, ProviderName.RUNPOD}


@pytest.fixture
def loaded(tmp_path: Path):
    def make(text: str = "", *, flags=None, environ=None, **profiles: ProfileConfig) -> Loaded:
        path = tmp_path / "config.toml"
        path.write_text(text)
        made = load(flags=flags or {}, environ=environ or {}, path=path)
        return replace(made, config=replace(made.config, profile=profiles))

    return make


def test_without_anything_it_is_a_4090_where_there_is_a_key(loaded):
    spec = make_spec(loaded(), "main", keys={ProviderName.RUNPOD})
    assert spec.providers == (ProviderName.RUNPOD,)
    assert (spec.gpu, spec.max_usd_per_hour, spec.ttl_s, spec.idle_s) == (
        "rtx4090",
        1_000_000,
        8 * 3600,
        3600,
    )


def test_all_markets_with_a_key_are_looked_at(loaded):
    assert set(make_spec(loaded(), "main", keys=BOTH).providers) == BOTH


def test_flag_beats_profile_beats_variable_beats_file(loaded):
    given = loaded(
        '[rent]\nregion = "SE"\ngpu = "rtx3090"\nttl_s = "3h"\n',
        flags={"rent.ttl_s": "1h"},
        environ={"LLMCTL_RENT_GPU": "rtx5090"},
        big=ProfileConfig(gpu="h100", ttl_s=7200.0),
    )
    with_profile = make_spec(given, "main", profile="big", keys=BOTH)
    assert (with_profile.gpu, with_profile.ttl_s, with_profile.region) == ("h100", 3600.0, "SE")
    assert make_spec(given, "main", keys=BOTH).gpu == "rtx5090"


def test_the_engine_comes_from_the_profile_too(loaded):
    chosen = ProfileConfig(model="qwen3-coder:30b-a3b-q8_0", num_ctx=8192, kv_cache_type="q4_0")
    spec = make_spec(loaded(q=chosen), "main", profile="q", keys=BOTH)
    assert (spec.model, spec.num_ctx, spec.kv_cache_type) == (
        "qwen3-coder:30b-a3b-q8_0",
        8192,
        "q4_0",
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_profiles_make_sense(loaded, name):
    spec = make_spec(loaded(), "main", profile=name, keys=BOTH)
    assert spec.max_usd_per_hour
    assert profiles(loaded())[name].description


def test_an_own_profile_replaces_a_built_in_one(loaded):
    assert find_profile(loaded(fast=ProfileConfig(gpu="a100")), "fast").gpu == "a100"


def test_a_misspelt_profile_is_guessed(loaded):
    with pytest.raises(NotFound, match="'fsat'") as no:
        find_profile(loaded(), "fsat")
    assert no.value.hint == "did you mean fast?"


def test_the_usual_price_counts_every_card(loaded):
    given = loaded(flags={"rent.gpu": "h100", "rent.gpu_count": 2})
    assert make_spec(given, "main", keys=BOTH).max_usd_per_hour == 9_000_000


@pytest.mark.parametrize(
    ("flags", "keys", "error", "words"),
    [
        ({"rent.gpu": "rtx9999"}, BOTH, ConfigError, "no GPU is called 'rtx9999'"),
        ({}, set(), AuthError, "no key for a market"),
        ({"rent.provider": ["vast"]}, {ProviderName.RUNPOD}, AuthError, "no API key for vast"),
        ({"rent.provider": ["host"]}, BOTH, ConfigError, "which machine"),
        ({"rent.provider": ["local", "vast"]}, BOTH, ConfigError, "cannot be combined"),
    ],
)
def test_what_cannot_be_meant_is_said(loaded, flags, keys, error, words):
    with pytest.raises(error, match=words):
        make_spec(loaded(flags=flags), "main", keys=keys)


@pytest.mark.parametrize("name", ["", "Main", "a b", "-x", "a/b", "x" * 40, "ä"])
def test_names_are_plain(loaded, name):
    with pytest.raises(ConfigError, match="lower-case"):
        make_spec(loaded(), name, keys=BOTH)


def test_an_address_on_the_command_line_means_that_machine(loaded):
    spec = make_spec(loaded(flags={"rent.host": "me@192.0.2.7:2222"}), "main", keys=BOTH)
    assert spec.providers == (ProviderName.HOST,)
    assert str(spec.host) == "me@192.0.2.7:2222"


@pytest.mark.parametrize("keys", [set(), BOTH])
def test_a_machine_of_ones_own_is_named_once(loaded, keys):
    box = SshAddress(host="192.0.2.7")
    spec = a_spec(name="mine", providers=(ProviderName.HOST,), host=box)
    known = a_rental(name="mine", provider=ProviderName.HOST, spec=spec)
    again = make_spec(loaded('[rent]\nprovider = ["vast"]\n'), "mine", keys=keys, existing=known)
    assert (again.providers, again.host) == ((ProviderName.HOST,), box)
    elsewhere = loaded(flags={"rent.host": "192.0.2.8"})
    assert str(make_spec(elsewhere, "mine", keys=keys, existing=known).host) == "root@192.0.2.8:22"


def test_this_machine_needs_no_key(loaded):
    spec = make_spec(loaded(flags={"rent.provider": ["local"]}), "main", keys=set())
    assert (spec.providers, spec.host) == ((ProviderName.LOCAL,), None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.7", "root@192.0.2.7:22"),
        ("me@box.example.com:2222", "me@box.example.com:2222"),
        ("[2001:db8::1]:2222", "root@[2001:db8::1]:2222"),
        ("me@2001:db8::1", "me@[2001:db8::1]:22"),
    ],
)
def test_addresses(text, shown):
    assert str(parse_host(text)) == shown


@pytest.mark.parametrize("text", ["", "a b", "me@", "box:port", "box:0", "box:70000", "[::1"])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError):
        parse_host(text)


def test_a_spec_can_be_compared(loaded):
    spec = make_spec(loaded(), "main", keys=BOTH)
    assert replace(spec) == spec
