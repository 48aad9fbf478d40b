"""What is made of llama.cpp's log when a model cannot be loaded."""

import pytest

from llmctl.backend.embedded.child import explain

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
