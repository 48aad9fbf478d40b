import io
import json
import logging

import pytest

from llmctl.core import logs


@pytest.fixture
def written():
    """A stream that gets our log lines; the loggers are as before afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("llmctl")
    before = root.level, ours.level, root.handlers[:]
    yield io.StringIO()
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]


def test_lines_for_people(written):
    logs.setup(level=logging.WARNING, stream=written)
    logging.getLogger("llmctl.x").warning("port %d is taken", 8000)
    logging.getLogger("llmctl.x").info("not asked for")
    assert written.getvalue() == "warning: port 8000 is taken\n"


def test_levels_are_ours_alone(written):
    logs.setup(level=logging.DEBUG, stream=written)
    logging.getLogger("llmctl.x").debug("ours")
    logging.getLogger("somebody").debug("theirs")
    logging.getLogger("somebody").warning("their warning")
    assert written.getvalue() == "debug: ours\nwarning: their warning\n"


def test_quiet_is_quiet_for_everybody(written):
    logs.setup(level=logging.ERROR, stream=written)
    logging.getLogger("llmctl.x").warning("ours")
    logging.getLogger("asyncio").warning("theirs")
    assert written.getvalue() == ""


def test_a_second_setup_replaces_the_first(written):
    logs.setup(level=logging.WARNING, stream=written)
    logs.setup(level=logging.WARNING, stream=written)
    logging.getLogger("llmctl").warning("once")
    assert written.getvalue() == "warning: once\n"


def test_handlers_of_others_stay(written):
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    logs.setup(level=logging.WARNING, stream=written)
    assert other in logging.getLogger().handlers


def test_the_request_id_is_on_every_line_of_its_context(written):
    logs.setup(level=logging.WARNING, stream=written)
    token = logs.request_id.set("req_1")
    logging.getLogger("llmctl").warning("slow")
    logs.request_id.reset(token)
    logging.getLogger("llmctl").warning("after")
    assert written.getvalue() == "warning: slow [req_1]\nwarning: after\n"


def test_json_lines(written):
    logs.setup(level=logging.WARNING, as_json=True, stream=written)
    token = logs.request_id.set("req_1")
    try:
        raise ValueError("bad llmctl_" + "a" * 40)
    except ValueError:
        logging.getLogger("llmctl.x").exception("lost\nwith a line break")
    logs.request_id.reset(token)
    [line] = written.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry.pop("traceback").endswith("ValueError: bad ****")
    assert entry == {
        "level": "error",
        "logger": "llmctl.x",
        "message": "lost\nwith a line break",
        "request_id": "req_1",
    }


def test_json_lines_can_always_be_written():
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "half a %s", ("\ud800",), None)
    line = logs.JsonFormatter().format(record)
    assert line.encode("ascii")
    assert json.loads(line)["message"] == "half a \ud800"


@pytest.mark.parametrize(
    "line",
    [
        "token {}",
        "Authorization: Bearer {}",
        "authorization=bearer {}",
        "X-Api-Key: {}",
        "headers {{'x-api-key': '{}'}}",
    ],
)
def test_tokens_are_masked_wherever_they_stand(line):
    token = "llmctl_" + "aB3-_" * 8
    shown = logs.redact(line.format(token))
    assert token not in shown
    assert "****" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("X-Api-Key: plain", "X-Api-Key: ****"),
        ("Authorization: Bearer plain", "Authorization: Bearer ****"),
        ("redis://me:pw@host:6379", "redis://****@host:6379"),
        ("key sk-ant-api03-0123456789abcdef", "key ****"),
        (
            "nothing to see at http://127.0.0.1:8000/v1",
            "nothing to see at http://127.0.0.1:8000/v1",
        ),
    ],
)
def test_what_looks_like_a_secret(line, shown):
    assert logs.redact(line) == shown


def test_protected_values_are_masked_in_messages_and_tracebacks(written):
    logs.protect("correct-horse")
    logs.protect("abc")
    logs.setup(level=logging.WARNING, stream=written)
    try:
        raise ValueError("correct-horse")
    except ValueError:
        logging.getLogger("llmctl").exception("with %s", "correct-horse")
    logging.getLogger("llmctl").warning("abc")
    assert "correct-horse" not in written.getvalue()
    assert written.getvalue().endswith("ValueError: ****\nwarning: abc\n")


def test_secrets_of_the_environment_are_known_by_their_names():
    environ = {"SOME_API_KEY": "open-sesame-1", "db_password": "open-sesame-2", "HOME": "/home/me"}
    logs.protect_environment(environ)
    assert logs.redact(f"{environ}") == (
        "{'SOME_API_KEY': '****', 'db_password': '****', 'HOME': '/home/me'}"
    )
