"""Engines' streams made by atheris, which looks for bytes that lead to code not seen before.

``python -m benchmarks.scorecard.guided RUNS DIRECTORY``: ends with 0 if no run raised anything, and
none was translated otherwise for being cut somewhere.
"""

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmctl.protocol"]):
    from benchmarks.scorecard import translator
    from llmctl.protocol.ollama_stream import OllamaDecoder
    from llmctl.protocol.openai_stream import OpenAIDecoder

SEEDS = 200
LONGEST = 2048
DECODERS = (OllamaDecoder, OpenAIDecoder)


def once(data: bytes) -> None:
    """Translate what follows two bytes: which decoder it is for, and where it is cut."""
    if len(data) < 3:
        return
    make, stream = DECODERS[data[0] % 2], data[2:]
    cut = data[1] * len(stream) // 256
    whole = translator.translate(make, [stream])
    for parts in ([stream[:cut], stream[cut:]], [bytes([byte]) for byte in stream]):
        if translator.translate(make, parts) != whole:
            raise AssertionError(f"{make.__name__} reads {parts!r} otherwise when it is whole")


def main() -> None:
    runs, directory = int(sys.argv[1]), Path(sys.argv[2])
    seeds = directory / "seeds"
    seeds.mkdir()
    dice = random.Random(20261123)
    for number in range(SEEDS):
        make, stream = translator.stream(dice)
        lead = bytes([DECODERS.index(make), dice.randrange(256)])
        (seeds / str(number)).write_bytes(lead + stream[:LONGEST])
    options = [f"-runs={runs}", f"-max_len={LONGEST}", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={directory}/", str(seeds)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
