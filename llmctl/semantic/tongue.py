"""Which language a text is in, as far as that keeps two texts apart."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

ENGLISH = "en"
COMMON = {
    "de": "der die das und ist nicht ein eine wie ich mit für auf den dem was kann man von zu im",
    "fr": "le la les des est et un une dans pour que qui comment je pas avec sur du ce quelle",
    "es": "el la los las es y un una en para que cómo como con por del qué cuál se mi puedo",
    "it": "il lo la gli le è e un una in per che come con di del qual cosa posso si mio",
    "pt": "o os as é e um uma em para que como com por do da qual posso se meu não",
    "nl": "de het een en is niet hoe ik met voor op van wat kan in te je dat mijn",
    "sv": "och är en ett hur jag med för på den det vad kan inte som av till min",
    "pl": "jak i w na nie jest to się z do czy co jaki jaka mój mam",
    "tr": "ve bir bu nas\u0131l ne için ile m\u0131 mi nedir var daha en çok",
    "en": "the a an is are do does how what why when i to of in and for on with can my it from",
}
LANGUAGES: dict[str, tuple[str, ...]] = {
    word: tuple(name for name, words in COMMON.items() if word in words.split())
    for word in " ".join(COMMON.values()).split()
}
"""Which languages a common word is common in."""
LEAD = 2
"""How many more common words another language needs than English: ``die`` is in both."""


def language_of(text: str, words: Iterable[str]) -> str:
    """Return the code of a language, or the name of a script for what is not in Latin letters."""
    if not text.isascii():
        script = _script(text)
        if script != "LATIN":
            return script
    votes = Counter(name for word in words for name in LANGUAGES.get(word, ()))
    best, most = max(votes.items(), key=lambda vote: vote[1], default=(ENGLISH, 0))
    return best if most >= votes[ENGLISH] + LEAD else ENGLISH


def _script(text: str) -> str:
    """Return the script most letters of the beginning are in."""
    found = Counter(
        unicodedata.name(letter, "LATIN").split()[0] for letter in text[:400] if letter.isalpha()
    )
    return found.most_common(1)[0][0] if found else "LATIN"
