import json

from llmctl.core.usage import CacheOutcome
from llmctl.render.json import document


def test_one_document_that_ends_in_a_newline():
    text = document({"outcome": CacheOutcome.HIT, "names": ["größe"], "none": None})
    assert text.endswith("}\n")
    assert json.loads(text) == {"outcome": "hit", "names": ["größe"], "none": None}
