"""What is made of an engine process's log and exit status."""

import pytest

from llmctl.backend.embedded.child import explain, why_it_ended

LOGS = {
    "tensor 'blk.16.ffn_down.weight' data is not within the file bounds, "
    "model is corrupted or incomplete": """\
0.00.001.932 W srv          init: security: something
0.00.024.580 E llama_model_load: error loading model: tensor 'blk.16.ffn_down.weight' data is not \
within the file bounds, model is corrupted or incomplete
0.00.024.662 E llama_model_load_from_file_impl: failed to load model
""",
    "failed to open GGUF file 'x' (No such file or directory)": """\
0.00.003.516 E gguf_init_from_file: failed to open GGUF file 'x' (No such file or directory)
0.00.004.637 E cmn  common_init_: failed to load model 'x'
""",
    "failed to load model 'x'": "0.00.004.637 E cmn  common_init_: failed to load model 'x'\n",
    "": "0.00.001.932 W srv init: security: something\nTraceback (most recent call last):\n",
}


@pytest.mark.parametrize(("cause", "log"), LOGS.items())
def test_the_first_error_names_the_cause(cause: str, log: str) -> None:
    assert explain(log) == cause


@pytest.mark.parametrize(
    ("status", "log", "why"),
    [
        (-9, "", "it was killed by SIGKILL"),
        (-35, "", "it was killed by signal 35"),
        (
            -6,
            "0.01 W srv: x\n/src/ggml.c:12: GGML_ASSERT(n > 0) failed\nbacktrace",
            "it was killed by SIGABRT: /src/ggml.c:12: GGML_ASSERT(n > 0) failed",
        ),
        (0, "", "it ended with exit status 0"),
        (1, LOGS["failed to load model 'x'"], "exit status 1: failed to load model 'x'"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(status: int, log: str, why: str) -> None:
    assert why_it_ended(status, log).endswith(why)
