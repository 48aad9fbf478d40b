r"""Pre-tokenizers of byte-pair vocabularies: how text is cut into pieces before merging.

One pattern per name in ``tokenizer.ggml.pre``, giving the pieces that llama.cpp (``llm_tokenizer_bpe``
in ``src/llama-vocab.cpp``) gives. Where llama.cpp runs several expressions in a row, each on the
pieces of the one before, they are folded into one alternation here; ``\s+(?=…)`` then stands for the
end of a piece. Every pattern must match every character: what it skips would not be counted.
"""

_CONTRACTION = r"'s|'t|'re|'ve|'m|'ll|'d"
_CONTRACTION_ANY_CASE = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_TRAILING_SPACE = r"\s+(?!\S)|\s+"

_GPT2 = rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_TRAILING_SPACE}"
_SINGLE_DIGITS = (
    rf"{_CONTRACTION}| ?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+|\s+(?=\p{{N}})|{_TRAILING_SPACE}"
)


def _cl100k(
    *, letter: str = r"\p{L}", digits: str = r"\p{N}", other: str = r"[^\s\p{L}\p{N}]"
) -> str:
    return (
        rf"{_CONTRACTION_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?{letter}+|{digits}| ?{other}+[\r\n]*"
        rf"|\s*[\r\n]+|{_TRAILING_SPACE}"
    )


def _cased(*, contraction: str, digits: str) -> str:
    # llama.cpp knows the case of ASCII letters only; the others count as both
    upper, lower = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{_TRAILING_SPACE}"
    )


_HAN_KANA = r"\u4E00-\u9FA5\u3040-\u30FF"
_WORDS = rf"[[\p{{L}}\p{{M}}]&&[^{_HAN_KANA}]]"
_DEEPSEEK_V3 = (
    rf"\p{{N}}{{1,3}}|[{_HAN_KANA}]+|[!-/:-@\[-`{{-~][A-Za-z]+"
    rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}\p{{N}}{_HAN_KANA}]?{_WORDS}+"
    rf"| ?[[\p{{P}}\p{{S}}]&&[^{_HAN_KANA}]]+[\r\n]*|\s*[\r\n]+"
    rf"|\s+(?=[\p{{N}}{_HAN_KANA}])|{_TRAILING_SPACE}"
    # control and format characters, which none of llama.cpp's expressions match: pieces they leave
    rf"|[^\s\p{{L}}\p{{M}}\p{{N}}\p{{P}}\p{{S}}]+(?!{_WORDS})"
)

_LLAMA3 = _cl100k(digits=r"\p{N}{1,3}")
_QWEN2 = _cl100k()
_GPT4O = _cased(contraction=rf"(?:{_CONTRACTION_ANY_CASE})?", digits=r"\p{N}{1,3}")

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
    "qwen35": _cl100k(letter=r"[\p{L}\p{M}]", other=r"[^\s\p{L}\p{M}\p{N}]"),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "dbrx",
         "smaug-bpe", "glm4", "glm5", "chatglm-bpe"),
        _LLAMA3,
    ),
    "seed-coder": _cl100k(other=r"[^\s\p{L}\p{N}\r\n]").replace(r"+[\r\n]*", "+", 1),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _GPT4O),
    "tekken": _cased(contraction="", digits=r"\p{N}"),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), _DEEPSEEK_V3),
}  # fmt: skip
"""Rust-flavoured regular expressions by the name of the pre-tokenizer."""

WHOLE_WORDS = frozenset(
    {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "glm4", "glm5",
     "tekken"}
)  # fmt: skip
"""Pre-tokenizers whose pieces are looked up whole in the vocabulary before any merging."""

BEGIN_BY_DEFAULT = frozenset(
    {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "tekken"}
)
"""Pre-tokenizers that put a begin token first unless the model's metadata says otherwise."""
