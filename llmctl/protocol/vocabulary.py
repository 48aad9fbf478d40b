"""A model's own byte-pair vocabulary, as Ollama hands it out, for counting tokens exactly.

Token ids are of no interest here, only how many there are.
"""

from collections.abc import Iterator
from math import ceil
from typing import Any, Self

from llmctl.protocol.excerpt import excerpt
from llmctl.protocol.pretokenizers import BEGIN_BY_DEFAULT, PATTERNS

_KEY = "tokenizer.ggml."
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4


class Vocabulary:
    """Counts tokens as llama.cpp does, special tokens in the text included.

    To be built in a thread: 150,000 tokens take 0.3 s of CPU, a third of it in one call that holds
    the interpreter's lock, and 50 MB. ``count`` is thread-safe and takes 35 ns a character.
    """

    def __init__(
        self, ranks: dict[bytes, int], special: frozenset[str], pattern: str, *, begins: bool
    ) -> None:
        """Take over ``ranks`` (merge order by token bytes), which is empty afterwards."""
        # tiktoken costs 15 ms and 5 MB to import: not before a vocabulary is wanted
        from tiktoken import Encoding

        ids = {token: len(ranks) + index for index, token in enumerate(special)}
        self._encoding = Encoding(
            "engine", pat_str=pattern, mergeable_ranks=ranks, special_tokens=ids
        )
        # the encoder has a copy of its own; the dict, which Encoding keeps, is 20 MB
        ranks.clear()
        self.special = special
        self.begin_tokens = int(begins)
        """Tokens that the engine puts before every prompt."""

    @classmethod
    def from_ollama_show(cls, model_info: dict[str, Any]) -> Self | None:
        """Build from ``model_info`` of ``/api/show`` with ``"verbose": true``.

        Takes the token and merge lists out of ``model_info``, so that their memory is free again
        early. None where counts could not be exact: SentencePiece, a pre-tokenizer that is not
        known here, merges that do not fit the tokens, or lists that were left out.
        """
        pre = model_info.get(_KEY + "pre")
        tokens = _taken(model_info, "tokens", str)
        merges = _taken(model_info, "merges", str)
        kinds = _taken(model_info, "token_type", int)
        if model_info.get(_KEY + "model") != "gpt2" or pre not in PATTERNS:
            return None
        if not merges or len(tokens) != len(kinds):
            return None
        special = frozenset(
            token
            for token, kind in zip(tokens, kinds, strict=True)
            if token and kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
        )
        ranks = _ranks(merges, known=frozenset(tokens))
        del tokens, kinds
        if ranks is None:
            return None
        begins = model_info.get(_KEY + "add_bos_token")
        return cls(
            ranks,
            special,
            PATTERNS[pre],
            begins=pre in BEGIN_BY_DEFAULT if begins is None else bool(begins),
        )

    def count(self, text: str) -> int:
        """Return the tokens of ``text``, without any that the engine adds around a prompt.

        Of a text beyond all contexts only a part is encoded (``excerpt``).
        """
        pieces, times = excerpt(text)
        return ceil(sum(map(self._encode, pieces)) * times)

    def _encode(self, text: str) -> int:
        return len(self._encoding.encode(text, allowed_special=self.special, disallowed_special=()))


def _taken(model_info: dict[str, Any], name: str, of: type) -> list[Any]:
    """Take a list out of ``model_info``; an empty one where it is not there or of other things."""
    found = model_info.pop(_KEY + name, None)
    return found if isinstance(found, list) and set(map(type, found)) == {of} else []


def _ranks(merges: list[str], *, known: frozenset[str]) -> dict[bytes, int] | None:
    """Return ranks by token bytes, None if the merges make a token that is not ``known``.

    Two merges may make the same token; the first counts. Consumes ``merges``, to free memory as it
    is taken elsewhere.
    """
    to_bytes = str.maketrans({shown: chr(byte) for byte, shown in _shown_bytes()})
    ranks = {bytes([byte]): byte for byte in range(256)}
    merges.reverse()
    while merges:
        token = merges.pop().replace(" ", "", 1)
        raw = token.translate(to_bytes)
        if not token or token not in known or max(raw) > "\xff":
            return None
        ranks.setdefault(raw.encode("latin-1"), len(ranks))
    return ranks


def _shown_bytes() -> Iterator[tuple[int, str]]:
    """Yield each byte with the character that stands for it in a byte-level vocabulary.

    GPT-2's convention: printable Latin-1 stands for itself, the other bytes are moved up from
    U+0100 on in their order.
    """
    moved = 0
    for byte in range(256):
        if chr(byte).isprintable() and not chr(byte).isspace():
            yield byte, chr(byte)
        else:
            yield byte, chr(0x100 + moved)
            moved += 1
