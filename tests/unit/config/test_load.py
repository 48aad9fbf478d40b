import logging
from pathlib import Path

import pytest

from llmctl.config.load import load
from llmctl.config.schema import BackendConfig, Config
from llmctl.config.settings import all_settings
from llmctl.core.errors import ConfigError


@pytest.fixture
def environ(tmp_path):
    return {"LLMCTL_HOME": str(tmp_path)}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def failure(environ, **flags):
    with pytest.raises(ConfigError) as caught:
        load(flags=flags, environ=environ)
    return caught.value


def urls(loaded):
    return [backend.url for backend in loaded.config.backend]


def test_nothing_given_is_the_schema_and_a_local_ollama(environ):
    loaded = load(flags={}, environ=environ)
    assert loaded.config == Config(backend=[BackendConfig(url="ollama:http://127.0.0.1:11434")])
    assert loaded.origins.keys() == all_settings().keys()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.path == Path(environ["LLMCTL_HOME"]) / "config" / "config.toml"
    assert loaded.redis_password is None


def test_each_source_beats_the_weaker_ones(environ, write):
    path = write("[serve]\nport = 1\nlisten = '::1'\n")
    sources = [
        ({}, {}, 1, f"{path}:2"),
        ({"API_PORT": "2"}, {}, 2, "API_PORT"),
        ({"API_PORT": "2", "LLMCTL_SERVE_PORT": "3"}, {}, 3, "LLMCTL_SERVE_PORT"),
        ({"LLMCTL_SERVE_PORT": "3"}, {"serve.port": 4}, 4, "--port"),
    ]
    for variables, flags, port, origin in sources:
        loaded = load(flags=flags, environ={**environ, **variables})
        assert loaded.config.serve.port == port
        assert str(loaded.origins["serve.port"]) == origin
        assert loaded.config.serve.listen == "::1"


def test_profiles_of_the_file_are_read(environ, write):
    path = write("[profile.night]\ngpu = 'h100'\nttl_s = '10h'\nmax_price = 2.5\n")
    loaded = load(flags={}, environ=environ)
    night = loaded.config.profile["night"]
    assert (night.gpu, night.ttl_s, night.max_price) == ("h100", 36000.0, "2.5")
    assert str(loaded.origins["profile"]).startswith(str(path))


def test_a_value_that_loses_is_not_checked(environ):
    loaded = load(flags={"serve.port": 4}, environ={**environ, "API_PORT": "tcp://nonsense"})
    assert loaded.config.serve.port == 4


def test_empty_variables_and_absent_flags_count_as_not_given(environ):
    variables = {"LLMCTL_SERVE_PORT": "", "API_PORT": "", "REDIS_URL": "", "OLLAMA_HOST": " "}
    loaded = load(flags={"serve.port": None, "backend": []}, environ={**environ, **variables})
    assert loaded.config.serve.port == 8000
    assert urls(loaded) == ["ollama:http://127.0.0.1:11434"]


def test_bad_values_name_themselves_and_their_origin(environ, write):
    error = failure({**environ, "API_PORT": "http"})
    assert error.message == "serve.port cannot be 'http' (API_PORT): expected `int`"
    assert "(--port)" in failure(environ, **{"serve.port": -1}).message
    path = write("[cache]\nttl_s = 'soon'\n")
    assert failure(environ).message == (
        f"cache.ttl_s cannot be 'soon' ({path}:2): "
        'expected a duration such as "24h", "1h30m" or "90s"'
    )


def test_long_values_are_cut_in_errors(environ):
    assert len(failure({**environ, "LLMCTL_SERVE_PORT": "9" * 5000 + "x"}).message) < 160


def test_quantities_in_every_source(environ, write):
    write('[cache]\nttl_s = "24h"\nmax_bytes = "2GiB"\n')
    loaded = load(
        flags={"model.keep_alive": "-1"}, environ={**environ, "LLMCTL_TIMEOUTS_IDLE_S": "10m"}
    )
    assert loaded.config.cache.ttl_s == 86400
    assert loaded.config.cache.max_bytes == 2 * 1024**3
    assert loaded.config.model.keep_alive == "-1s"
    assert loaded.config.timeouts.idle_s == 600


def test_the_file_can_be_named(environ, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("[serve]\nport = 9\n")
    by_variable = load(flags={}, environ={**environ, "LLMCTL_CONFIG": str(other)})
    by_flag = load(flags={}, environ={**environ, "LLMCTL_CONFIG": "/nowhere"}, path=other)
    assert by_variable.config.serve.port == by_flag.config.serve.port == 9
    assert "/nowhere does not exist" in failure({**environ, "LLMCTL_CONFIG": "/nowhere"}).message


def test_unknown_variables_are_said_not_refused(environ, caplog):
    with caplog.at_level(logging.WARNING):
        load(flags={}, environ={**environ, "LLMCTL_SERVE_PROT": "1", "LLMCTL_DEBUG": "1"})
    assert caplog.messages == [
        "LLMCTL_SERVE_PROT is not a setting; did you mean LLMCTL_SERVE_PORT?"
    ]


class TestBackends:
    def test_several_in_order(self, environ):
        loaded = load(flags={"backend": ["embedded", "ollama:gpu"]}, environ=environ)
        assert urls(loaded) == ["embedded", "ollama:http://gpu:11434"]
        assert str(loaded.origins["backend"]) == "--backend"

    def test_tables_in_the_file(self, environ, write):
        path = write(
            '[[backend]]\nurl = "openai:http://a"\nparallel = 4\n[[backend]]\nurl="ollama"\n'
        )
        loaded = load(flags={}, environ=environ)
        assert loaded.config.backend[0] == BackendConfig(url="openai:http://a", parallel=4)
        assert str(loaded.origins["backend"]) == f"{path}:1"

    def test_one_variable_lists_them(self, environ):
        variables = {"LLMCTL_BACKEND": "openai:http://a, embedded"}
        assert urls(load(flags={}, environ={**environ, **variables})) == [
            "openai:http://a",
            "embedded",
        ]

    def test_ollama_host_is_the_default_address(self, environ):
        variables = {**environ, "OLLAMA_HOST": "0.0.0.0:9999"}
        loaded = load(flags={}, environ=variables)
        assert urls(loaded) == ["ollama:http://127.0.0.1:9999"]
        assert str(loaded.origins["backend"]) == "OLLAMA_HOST"
        assert urls(load(flags={"backend": ["ollama"]}, environ=variables)) == urls(loaded)
        elsewhere = load(flags={"backend": ["ollama:gpu"]}, environ=variables)
        assert urls(elsewhere) == ["ollama:http://gpu:11434"]

    def test_a_bad_ollama_host_matters_only_where_it_is_used(self, environ):
        variables = {**environ, "OLLAMA_HOST": "ftp://x"}
        assert "(OLLAMA_HOST)" in failure(variables).message
        assert urls(load(flags={"backend": ["embedded"]}, environ=variables)) == ["embedded"]

    def test_a_model_file_alone_means_the_embedded_engine(self, environ):
        assert urls(load(flags={"embedded.gguf": "/m.gguf"}, environ=environ)) == ["embedded"]
        both = load(flags={"embedded.gguf": "/m.gguf", "backend": ["ollama"]}, environ=environ)
        assert urls(both) == ["ollama:http://127.0.0.1:11434"]

    def test_limits_for_all_of_them(self, environ, write):
        write(
            '[[backend]]\nurl = "ollama"\nparallel = 4\nqueue = 5\n[[backend]]\nurl = "embedded"\n'
        )
        loaded = load(flags={"backend.parallel": 2}, environ=environ)
        assert [(backend.parallel, backend.queue) for backend in loaded.config.backend] == [
            (2, 5),
            (2, 256),
        ]

    def test_a_password_in_an_address_is_not_repeated(self, environ):
        error = failure(environ, backend=["openai:http://me:s3cret@host:1"])
        assert "backend cannot be 'openai:http://…@host:1' (--backend)" in error.message
        assert "s3cret" not in error.message

    def test_the_engines_key_is_no_setting(self, environ):
        assert load(flags={}, environ={**environ, "LLMCTL_BACKEND_API_KEY": "sesame"}).config

    def test_unknown_kinds_are_refused_with_an_example(self, environ):
        error = failure(environ, backend=["http://127.0.0.1"])
        assert "backend cannot be 'http://127.0.0.1' (--backend)" in error.message
        assert error.hint == "llmctl serve --backend ollama:http://127.0.0.1:11434"


class TestModel:
    @pytest.mark.parametrize("name", ["claude-opus-4-8", "sonnet", "opusplan", "opus[1m]"])
    def test_the_clients_own_names_say_nothing_about_the_engine(self, environ, name):
        loaded = load(flags={}, environ={**environ, "ANTHROPIC_MODEL": name})
        assert loaded.config.model.name is None

    def test_any_other_name_is_the_model(self, environ):
        loaded = load(flags={}, environ={**environ, "ANTHROPIC_MODEL": "qwen3-coder:30b"})
        assert loaded.config.model.name == "qwen3-coder:30b"
        assert str(loaded.origins["model.name"]) == "ANTHROPIC_MODEL"


class TestRedis:
    def test_password_of_the_url_is_kept_apart(self, environ):
        loaded = load(flags={}, environ={**environ, "REDIS_URL": "redis://:hunter22@cache:6379/1"})
        assert loaded.config.redis.url == "redis://cache:6379/1"
        assert loaded.redis_password is not None
        assert loaded.redis_password.reveal() == "hunter22"
        assert "hunter22" not in repr(loaded)

    def test_in_parts(self, environ):
        variables = {"REDIS_HOST": "cache", "REDIS_PORT": "7000", "REDIS_PASSWORD": "hunter22"}
        loaded = load(flags={}, environ={**environ, **variables})
        assert (loaded.config.redis.host, loaded.config.redis.port) == ("cache", 7000)
        assert loaded.redis_password is not None
        assert loaded.redis_password.reveal() == "hunter22"

    def test_ports_of_kubernetes_services(self, environ):
        alone = {**environ, "REDIS_PORT": "tcp://10.1.2.3:6379"}
        assert load(flags={}, environ=alone).config.redis.host is None
        together = {**alone, "REDIS_HOST": "cache", "REDIS_PORT": "tcp://10.1.2.3:7000"}
        assert load(flags={}, environ=together).config.redis.port == 7000

    @pytest.mark.parametrize("where", ["file", "flag"])
    def test_passwords_belong_in_the_environment(self, environ, write, where):
        url = "redis://:hunter22@cache"
        if where == "file":
            write(f'[redis]\nurl = "{url}"\n')
        error = failure(environ, **({"redis.url": url} if where == "flag" else {}))
        assert "hunter22" not in error.message
        assert "holds a password" in error.message
        assert "REDIS_PASSWORD" in str(error.hint)

    def test_the_stronger_of_url_and_host_wins(self, environ):
        both = {"REDIS_URL": "redis://one", "REDIS_HOST": "two"}
        assert load(flags={}, environ={**environ, **both}).config.redis.url == "redis://one"
        ours = {"REDIS_URL": "redis://one", "LLMCTL_REDIS_HOST": "two"}
        loaded = load(flags={}, environ={**environ, **ours})
        assert (loaded.config.redis.url, loaded.config.redis.host) == (None, "two")

    def test_other_schemes_are_refused(self, environ):
        error = failure({**environ, "REDIS_URL": "http://cache"})
        assert error.message == (
            "redis.url from REDIS_URL cannot be used: "
            "expected redis://HOST:PORT/DB, rediss://… or unix://PATH"
        )


class TestExposure:
    def test_other_machines_need_a_token(self, environ):
        error = failure(environ, **{"serve.listen": "0.0.0.0", "serve.auth": False})
        assert "'0.0.0.0' (--listen)" in error.message
        assert "(--no-auth)" in error.message

    @pytest.mark.parametrize(
        "flags",
        [
            {"serve.listen": "0.0.0.0"},
            {"serve.auth": False},
            {"serve.listen": "localhost", "serve.auth": False},
        ],
    )
    def test_one_of_the_two_is_fine(self, environ, flags):
        assert load(flags=flags, environ=environ)
