import json

from llmctl.config.load import load
from llmctl.render.settings import settings_document, settings_table


def loaded(tmp_path, **flags):
    return load(
        flags=flags,
        environ={"LLMCTL_HOME": str(tmp_path), "LLMCTL_MODEL_ALIASES": "fast=qwen:7b"},
    )


def lines(text):
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in text.splitlines()}


def test_every_setting_on_a_line(tmp_path):
    found = loaded(tmp_path, backend=["embedded", "ollama"])
    shown = lines(settings_table(found.config, None))
    assert shown["serve.port"] == "8000"
    assert shown["cache.ttl_s"] == "86400"
    assert shown["redis.budget_s"] == "0.02"
    assert shown["serve.auth"] == "true"
    assert shown["model.name"] == "-"
    assert shown["model.aliases"] == '{"fast":"qwen:7b"}'
    assert shown["backend"] == "embedded, ollama:http://127.0.0.1:11434"
    assert {key for key in found.origins if not key.startswith("backend.")} == shown.keys()


def test_origins_beside_them(tmp_path):
    found = loaded(tmp_path, **{"serve.port": 9000})
    shown = lines(settings_table(found.config, found.origins))
    assert shown["serve.port"].split() == ["9000", "--port"]
    assert shown["model.aliases"].split() == ['{"fast":"qwen:7b"}', "LLMCTL_MODEL_ALIASES"]
    assert shown["serve.listen"].split() == ["127.0.0.1", "default"]


def test_documents(tmp_path):
    found = loaded(tmp_path, **{"serve.port": 9000})
    assert json.loads(settings_document(found.config, None))["serve"]["port"] == 9000
    with_origins = json.loads(settings_document(found.config, found.origins))
    assert with_origins["serve.port"] == {"value": 9000, "origin": "--port"}
    assert with_origins["backend"]["value"][0]["url"] == "ollama:http://127.0.0.1:11434"
