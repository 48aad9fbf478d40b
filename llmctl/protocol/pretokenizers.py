r"""Pre-tokenizers of byte-pair vocabularies: how text is cut into pieces before merging.

One pattern per name in ``tokenizer.ggml.pre``, giving the pieces that llama.cpp gives
(``llm_tokenizer_bpe`` in its ``src/llama-vocab.cpp``). Where llama.cpp runs several expressions in
a row, each on the pieces of the one before, one alternation does the same here; ``\s+(?=…)`` then
stands for white space at the end of such a piece. A pattern must match every character: what it
skips would not be counted.
"""

_CONTRACTION = r"'s|'t|'re|'ve|'m|'ll|'d"
_CONTRACTION_ANY_CASE = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_SPACE = r"\s+(?!\S)|\s+"


def _either(plain: str, *, looking_around: str = _SPACE) -> str:
    """Join two alternations, of which only the second looks around.

    The group keeps the first in one finite automaton, which halves the time of all.
    """
    return f"(?:{plain})|{looking_around}"


def _cl100k(
    *, letter: str = r"\p{L}", digits: str = r"\p{N}", other: str = r"[^\s\p{L}\p{N}]+[\r\n]*"
) -> str:
    return _either(
        rf"{_CONTRACTION_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?{letter}+|{digits}| ?{other}|\s*[\r\n]+"
    )


def _o200k(*, contraction: str = "", digits: str) -> str:
    # llama.cpp knows the case of ASCII letters only; the others count as both
    upper, lower = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"
    lead = r"[^\r\n\p{L}\p{N}]?"
    return _either(
        rf"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
    )


_GPT2 = _either(rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+")
_SINGLE_DIGITS = _either(
    rf"{_CONTRACTION}| ?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+",
    looking_around=rf"\s+(?=\p{{N}})|{_SPACE}",
)
_QWEN2 = _cl100k()
_LLAMA3 = _cl100k(digits=r"\p{N}{1,3}")
_GPT4O = _o200k(contraction=rf"(?:{_CONTRACTION_ANY_CASE})?", digits=r"\p{N}{1,3}")

_HAN_KANA = r"\u4E00-\u9FA5\u3040-\u30FF"
_WORDS = rf"[[\p{{L}}\p{{M}}]&&[^{_HAN_KANA}]]"
_DEEPSEEK_V3 = _either(
    rf"\p{{N}}{{1,3}}|[{_HAN_KANA}]+|[!-/:-@\[-`{{-~][A-Za-z]+"
    rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}\p{{N}}{_HAN_KANA}]?{_WORDS}+"
    rf"| ?[[\p{{P}}\p{{S}}]&&[^{_HAN_KANA}]]+[\r\n]*|\s*[\r\n]+",
    looking_around=rf"\s+(?=[\p{{N}}{_HAN_KANA}])|{_SPACE}"
    # control and format characters: no expression of llama.cpp's matches them, they stay together
    rf"|[^\s\p{{L}}\p{{M}}\p{{N}}\p{{P}}\p{{S}}]+(?!{_WORDS})",
)

PATTERNS = {
    **dict.fromkeys(
        ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4",
         "mellum", "gigachat", "a.x-4.0"),
        _GPT2,
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
         "mellum2"),
        _SINGLE_DIGITS,
    ),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "solar-open", "grok-2",
         "kormo"),
        _QWEN2,
    ),
    "qwen35": _cl100k(letter=r"[\p{L}\p{M}]", other=r"[^\s\p{L}\p{M}\p{N}]+[\r\n]*"),
    "seed-coder": _cl100k(other=r"[^\s\p{L}\p{N}\r\n]+"),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "dbrx",
         "smaug-bpe", "glm4", "glm5", "chatglm-bpe"),
        _LLAMA3,
    ),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _GPT4O),
    "tekken": _o200k(digits=r"\p{N}"),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), _DEEPSEEK_V3),
}  # fmt: skip
"""Rust regular expressions by the name of the pre-tokenizer."""

BEGIN_BY_DEFAULT = frozenset(
    {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken"}
)
"""Pre-tokenizers that put a begin token first unless the model's metadata says otherwise."""
