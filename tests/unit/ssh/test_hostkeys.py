import pytest

from llmctl.ssh.hostkeys import fingerprint

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def test_fingerprint_is_what_ssh_keygen_shows() -> None:
    assert fingerprint(KEY) == "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"
    assert fingerprint(f"{KEY} comment of any kind") == fingerprint(KEY)


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 not/base64!"])
def test_what_is_no_key(line: str) -> None:
    with pytest.raises(ValueError, match="is no public key line"):
        fingerprint(line)
