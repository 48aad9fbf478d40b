"""Which answers may be given to other questions than the one they were made for."""

import re

LOOKED_AT = 300
"""Characters: a refusal begins with itself."""
REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able|afraid)"
    r"|i (?:cannot|can't|can not|won't|will not|must decline)"
    r"|i do(?:n't| not) (?:have (?:access|the ability)|know|understand)"
    r"|i apologi[sz]e|sorry,? (?:but )?i|as an ai(?: language)? model"
    r"|unable to (?:help|assist|comply)|could you (?:please )?(?:clarify|provide)|please provide"
    r"|es tut mir leid|lo siento|je suis désolé)",
    re.IGNORECASE,
)
"""How models say no, or ask back: true of one question, wrong for the next."""
APOSTROPHES = str.maketrans("\u2019\u02bc", "''")


def good_source(answer: str) -> bool:
    """Tell whether an answer says something, and neither refuses nor asks back.

    In doubt it is not good.
    """
    beginning = answer[:LOOKED_AT].translate(APOSTROPHES)
    return bool(answer.strip()) and REFUSAL.search(beginning) is None
