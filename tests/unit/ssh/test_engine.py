import pytest

from llmctl.core.errors import RemoteFailed
from llmctl.ssh.engine import (
    EngineSettings,
    check_running_version,
    environment,
    full_name,
    listening,
)

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 0100007F:2CAA 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0
   3: 0A00020F:2CAB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:2CAA 00000000000000000000000000000000:0000 0A 0
   1: 00000000000000000000000000000000:2CAB 00000000000000000000000000000000:0000 0A 0
"""


def test_listening_addresses_are_read_from_the_kernels_table() -> None:
    assert listening(TCP + TCP6, 11434) == {"127.0.0.1", "::1"}
    assert listening(TCP + TCP6, 11435) == {"15.2.0.10", "::"}
    assert listening(TCP, 22) == {"0.0.0.0"}
    assert listening(TCP, 80) == set()


def test_environment_binds_to_loopback_and_leaves_out_what_is_not_set() -> None:
    plain = environment(EngineSettings(port=4000))
    assert plain["OLLAMA_HOST"] == "127.0.0.1:4000"
    assert "OLLAMA_CONTEXT_LENGTH" not in plain
    assert "OLLAMA_KV_CACHE_TYPE" not in plain
    full = environment(EngineSettings(num_ctx=65536, kv_cache_type="q4_0", parallel=3))
    assert full["OLLAMA_CONTEXT_LENGTH"] == "65536"
    assert full["OLLAMA_KV_CACHE_TYPE"] == "q4_0"
    assert full["OLLAMA_NUM_PARALLEL"] == "3"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("qwen3-coder", "qwen3-coder:latest"),
        ("Qwen3-Coder:30B", "qwen3-coder:30b"),
        ("localhost:5000/me/model", "localhost:5000/me/model:latest"),
    ],
)
def test_full_name(name: str, full: str) -> None:
    assert full_name(name) == full


def test_running_version() -> None:
    check_running_version("0.33.0", "it")
    check_running_version("0.0.0", "a build of one's own")
    with pytest.raises(RemoteFailed, match=r"the Ollama on box is 0\.16\.0"):
        check_running_version("0.16.0", "box")
