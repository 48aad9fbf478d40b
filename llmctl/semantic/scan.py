"""Cuts a text into pieces: code, quotations, addresses, numbers, words and stops."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from llmctl.semantic.words import lexicon

LITERAL, NUMBER, WORD, STOP = "literal", "number", "word", "stop"
APOSTROPHE, OPENING, MINUS = "\u2019", "\u2018", "\u2212"
PIECE = re.compile(
    r"""
    [\ \t]*(?:
      (?P<plain>[^\W\d_]++(?![\w/\\:@+\#'\u2019-]|\.\w))
    | (?P<block>```.*?(?:```|\Z))
    | `(?P<span>[^`\n]{1,300})`
    | (?P<url>\b(?:https?|ftp|ssh|file)://\S{1,500}|\bwww\.\S{1,200})
    | "(?P<double>[^"\n]{1,300})" | “(?P<curly>[^”\n]{1,300})” | «(?P<angle>[^»\n]{1,300})»
    | (?<!\w)['\u2018](?P<single>[^'\u2019\n]{1,300})['\u2019](?!\w)
    | (?P<mail>[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)
    | (?P<path>(?<!\w)(?:~|\.{1,2})?/[\w.@%*-]+(?:/[\w.@%*-]*)*
        |(?<!\w)[A-Za-z]:\\[^\s,;]*
        |[\w.-]{1,64}(?:/[\w.-]+){2,}/?
        |[\w-]{1,64}/[\w-]+\.[A-Za-z]\w*)
    | (?P<flag>(?<![\w-])--?[A-Za-z][\w-]*)
    | (?P<prefixed>(?<![\w-])(?:re|e|non|un|pre|co|sub|multi|anti|auto|micro|semi)-
        [^\W\d_]{3,}(?![\w-]))
    | (?P<amount>(?<!\w)[-\u2212+]?[$€£¥]?\d+(?:[.,:/-]\d+)*(?:st|nd|rd|th|\ ?%)?(?![^\W_]))
    | (?P<name>\.?[^\W\d_][^\W_]*(?:(?:\.|::)[^\W\d]\w*)+|\w*_\w+|(?<![\w.])\.[A-Za-z]\w+)
    | (?P<sharp>\b[A-Za-z](?:\+\+|\#)(?!\w))
    | (?P<word>[^\W\d_]++(?:['\u2019][^\W\d_]++)*+(?![\d_]))
    | (?P<mixed>[^\W_]+(?:\.\d+)*)
    | (?P<operator>[=<>!&|+*/%^~?@\#$\\:-]{2,}|[=<>+*%^~@$\\]|\[\]|\{\}|(?<=\s)[/&|](?=\s)
        |(?<=\d)-(?=\w))
    | (?P<stop>[.?!;:,\n()\[\]{}]+)
    | (?P<symbol>[^\w\s.?!;:,()\[\]{}'"`“”«»\u2018\u2019…—\u2013•·¿¡/|&-])
    )
    """,
    re.VERBOSE | re.DOTALL,
)
PLAIN = re.compile(r"[\w.+#-]+(?:\(\))?(?: [\w.+#-]+(?:\(\))?){0,3}")
PARTS = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)*")
GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
ENDS = re.compile(r"[.?!;:\n]")
MOST_PARTS = 3
"""An odd word of letters and digits in more parts is a code of its own, not ``python3``."""
CURRENCIES = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen"}
DOTTED = {
    **{word: word.replace(".", "") for word in ("e.g", "i.e", "a.m", "p.m")},
    **{word: word.replace(".", "").upper() for word in ("u.s", "u.k", "u.s.a")},
}


class Piece(NamedTuple):
    """A part of a text."""

    kind: str
    text: str


class Raw(NamedTuple):
    """A word as it was written, or something that is no word."""

    text: str
    kind: str
    capital: bool = False


def pieces(text: str) -> Iterator[Piece]:
    """Yield the pieces of ``text`` in order, in time that grows with its length."""
    for match in PIECE.finditer(text):
        group = match.lastgroup or ""
        if group == "plain":
            yield Piece(WORD, match[group])
        else:
            yield from _pieces(group, match[group])


def _pieces(group: str, text: str) -> Iterator[Piece]:
    if group in {"word", "sharp"}:
        yield Piece(WORD, text)
    elif group == "prefixed":
        yield Piece(WORD, text.replace("-", ""))
    elif group == "stop":
        yield Piece(STOP, "." if ENDS.search(text) else ",")
    elif group in SPLIT:
        yield from SPLIT[group](text)
    elif group == "span" and PLAIN.fullmatch(text):
        # a command or a name in back-ticks is the same without them
        yield from pieces(text.replace("()", " "))
    elif text == "->":
        yield Piece(WORD, "to")
    else:
        yield Piece(LITERAL, _squeezed(text) if group == "block" else text.strip())


def _squeezed(block: str) -> str:
    return "\n".join(line.rstrip() for line in block.strip("`").strip().splitlines())


def _amount(text: str) -> Iterator[Piece]:
    """Yield a number, what it is a number of where a sign says so, or an ordinal."""
    if text[-1].isalpha():
        yield Piece(NUMBER, lexicon().numbers.get(text, text))
        return
    share, text = text.endswith("%"), text.rstrip(" %")
    sign = "-" if text[0] in f"-{MINUS}" else ""
    text = text.lstrip(f"-+{MINUS}")
    currency = CURRENCIES.get(text[0])
    digits = text[1:] if currency else text
    yield Piece(NUMBER, sign + (digits.replace(",", "") if GROUPED.fullmatch(digits) else digits))
    if share or currency:
        yield Piece(WORD, currency or "percent")


def _mixed(text: str) -> Iterator[Piece]:
    parts = PARTS.findall(text)
    if text.lower() in lexicon().synonyms:
        yield Piece(WORD, text)
    elif len(parts) > MOST_PARTS:
        yield Piece(LITERAL, text)
    else:
        for part in parts:
            yield Piece(NUMBER if part[0].isdigit() else WORD, part)


def _name(text: str) -> Iterator[Piece]:
    """Yield a dotted or underscored name: the suffix of ``Node.js`` is no part of it."""
    lower = text.lower()
    if lower.endswith(".js") and lower.find(".") == len(lower) - 3 > 0:
        yield Piece(WORD, text[:-3])
    elif lower[0] == "." and lower[1:].isalpha():
        yield Piece(WORD, text[1:])
    elif lower in DOTTED:
        yield Piece(WORD, DOTTED[lower])
    else:
        yield Piece(LITERAL, text)


SPLIT = {"amount": _amount, "mixed": _mixed, "name": _name}
