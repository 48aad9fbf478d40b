"""The systemd unit of a tunnel."""

from llmctl.ops.tunnel import unit_text


def test_a_unit_says_what_runs_and_when_it_is_started_again() -> None:
    text = unit_text("my-gpu", ["/usr/bin/llmctl", "tunnel", "my-gpu"], {})
    assert "ExecStart=/usr/bin/llmctl tunnel my-gpu\n" in text
    assert "Restart=on-failure\n" in text
    assert "RestartPreventExitStatus=2 4\n" in text
    assert "Environment" not in text
    assert text.startswith("# ~/.config/systemd/user/llmctl-tunnel-my-gpu.service\n")


def test_what_means_something_to_systemd_is_quoted() -> None:
    text = unit_text(
        "x", ["/home/a b/llmctl", "--socket", "100%/$x", 'a"b'], {"LLMCTL_HOME": "/a b"}
    )
    assert 'ExecStart="/home/a b/llmctl" --socket "100%%/$$x" "a\\"b"\n' in text
    assert 'Environment="LLMCTL_HOME=/a b"\n' in text
