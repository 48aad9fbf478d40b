import pytest

from llmctl.core.errors import NotFound
from llmctl.ops.claude import find_client, plan_launch, too_small


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin" / "claude"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_one_on_path(program):
    assert find_client({"PATH": f"/nowhere:{program.parent}"}) == str(program)


def test_the_override_is_a_path_or_a_name(program, monkeypatch, tmp_path):
    assert find_client({"PATH": "", "LLMCTL_CLAUDE": str(program)}) == str(program)
    assert find_client({"PATH": str(program.parent), "LLMCTL_CLAUDE": "claude"}) == str(program)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_client({"PATH": "", "LLMCTL_CLAUDE": "~/bin/claude"}) == str(program)


def test_none_says_how_to_get_it():
    with pytest.raises(NotFound, match="there is no claude command on PATH") as caught:
        find_client({"PATH": "/nowhere"})
    assert caught.value.hint == "npm install -g @anthropic-ai/claude-code"


def test_an_override_that_cannot_run_is_named(program):
    program.chmod(0o644)
    with pytest.raises(NotFound, match=f"LLMCTL_CLAUDE={program} is not a program"):
        find_client({"PATH": "/usr/bin", "LLMCTL_CLAUDE": str(program)})


def test_arguments_untouched_variables_on_top():
    launch = plan_launch(
        "/bin/claude",
        ["-p", "--", "--help"],
        variables={"A": "new", "ANTHROPIC_API_KEY": ""},
        environ={"A": "old", "B": "kept", "ANTHROPIC_API_KEY": "sk"},
    )
    assert launch.program == "/bin/claude"
    assert launch.arguments == ["/bin/claude", "-p", "--", "--help"]
    assert launch.environment == {"A": "new", "B": "kept", "ANTHROPIC_API_KEY": ""}


@pytest.mark.parametrize("arguments", [[], ["-p", "Say --bare"]])
def test_a_window_too_small_for_the_client_is_told_with_a_way_out(arguments):
    told = too_small(8192, arguments)
    assert "the context served is 8,192 tokens" in told
    assert "llmctl claude --bare" in told
    assert "--num-ctx" in told


def test_a_window_that_is_large_enough_for_what_is_asked():
    assert too_small(24_000, []) == ""
    assert too_small(8192, ["--bare", "-p", "Say hello"]) == ""
