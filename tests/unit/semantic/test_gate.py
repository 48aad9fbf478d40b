"""What the gate lets pass and what it blocks; the labelled set it is measured on."""

import re
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.semantic_data import HELD, pairs
from llmctl.semantic.gate import compare, conflict, facts
from llmctl.semantic.interval import wilson

PAIRS = pairs()
DIGIT = re.compile(r"\d")
TEXTS = [pair.a for pair in PAIRS[::7]]


def blocked(a: str, b: str) -> str | None:
    return conflict(facts(a), facts(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I reverse a list in Python?", "What's the best way to reverse a Python list?"),
        ("How can I turn a CSV file into JSON?", "How do I convert a CSV file to JSON?"),
        ("What does idempotent mean?", "What is the meaning of idempotent?"),
        ("Is there a way to undo a commit?", "Please tell me how to undo a commit."),
        (
            "What is the difference between a list and a tuple?",
            "How does a tuple differ from a list?",
        ),
        ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
        ("Did Shakespeare write Hamlet?", "Was Hamlet written by Shakespeare?"),
        ("Why isn't my pod starting?", "Why is my pod not starting?"),
        ("Install Python 3.11", "install python 3.11!"),
        ("What does `yield` do in Python?", "In Python, what does the yield keyword do?"),
        ("How do I merge two dicts?", "How can two dicts be merged?"),
        ("List the containers that are running", "List the running containers"),
        ("Drop rows with missing values", "Drop rows that have missing values"),
        ("If a build fails, how do I stop it?", "How do I stop it if a build fails?"),
        ("Should I pick npm or yarn?", "Should I pick yarn or npm?"),
        ("Find files larger than 100 MB", "Find files over 100 MB"),
        ("How do I install pip on Ubuntu?", "install pip ubuntu"),
        ("Why does a component re-render?", "Why does a component rerender?"),
        ("I want to squash commits, how do I do that?", "How can I squash comits?"),
        ("In Go, how do I sort a list in a map?", "How do I sort a list in a map in Go?"),
        ("Run only one test with pytest", "run a single test with pytset"),
    ],
)
def test_other_words_pass(a, b):
    assert blocked(a, b) is None


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ("Convert CSV to JSON", "Convert JSON to CSV", "direction differs"),
        ("a list of dicts in Python", "a dict of lists in Python", "direction differs"),
        ("Does Python call C?", "Does C call Python?", "order differs"),
        ("Does Adam notice Eve?", "Is Adam noticed by Eve?", "direction differs"),
        ("Is TCP faster than UDP?", "Is UDP faster than TCP?", "direction differs"),
        ("Run it before lunch", "Run it after lunch", "relations differ"),
        ("How do I start nginx?", "How do I stop nginx?", "words differ"),
        ("How do I turn on wifi?", "How do I turn off wifi?", "words differ"),
        ("How do I exit vim with saving?", "How do I exit vim without saving?", "negations differ"),
        (
            "Is it safe to delete node_modules?",
            "Is it not safe to delete node_modules?",
            "negations differ",
        ),
        ("Delete all files in a folder", "Delete files in a folder", "quantities differ"),
        ("How do I install Node 18?", "How do I install Node 20?", "numbers differ"),
        ("Wait two seconds", "Wait 3 seconds", "numbers differ"),
        ("Sleep for 5 minutes", "Sleep for 5 hours", "words differ"),
        ("What is 15% of 80?", "What is 80% of 15?", "direction differs"),
        ("What does `x or y` do?", "What does `x and y` do?", "quantities differ"),
        ("Rename get_user", "Rename get_users", "code or quotations differ"),
        ("Copy /etc/hosts", "Copy /etc/passwd", "code or quotations differ"),
        (
            'Say "good morning" in French',
            'Say "good evening" in French',
            "code or quotations differ",
        ),
        ("How do I sort a list in Java?", "How do I sort a list in Rust?", "names differ"),
        ("How do I write a parser?", "Why do I write a parser?", "requests differ"),
        ("Explain this function", "Fix this function", "requests differ"),
        ("When did the war end?", "When will the war end?", "tenses differ"),
        ("What is your name?", "What is my name?", "persons differ"),
        ("Wie sortiere ich eine Liste?", "How do I sort a list?", "languages differ"),
        ("Explain recursion in German", "Explain recursion", "names differ"),
        ("What is a class?", "What is a class method?", "one says more"),
        ("Who are you?", "Who am I?", "persons differ"),
        ("What flag is this?", "What is a flag?", "one says more"),
        ("What is money for?", "What is money?", "relations differ"),
        ("Should I call us?", "Should I call US?", "persons differ"),
        ("Find what is old but not big", "Find what is big but not old", "negations differ"),
        ("Who killed Caesar?", "Who did Caesar kill?", "requests differ"),
        ("How do I delete my account?", "How do I delete your account?", "persons differ"),
        ("What is vitamin A?", "What is a vitamin?", "names differ"),
        ("How do I merge branch a into b?", "How do I merge branch b into a?", "direction differs"),
        ("What is ASME?", "What is asm?", "names differ"),
        ("Sort 3 1 2", "Sort 1 3 2", "order differs"),
        ("How do I train a dog?", "How do I train with a dog?", "direction differs"),
        ("Keep a pod from restarting", "Keep a pod restarting", "direction differs"),
        ("Write a test for a decorator", "Write a test with a decorator", "direction differs"),
        ("Is every square a rectangle?", "Is every rectangle a square?", "order differs"),
        ("Can I sue my boss?", "Can my boss sue me?", "persons differ"),
        ("Keep our version of a file", "Keep their version of a file", "persons differ"),
        ("Redirect www to non-www", "Redirect non-www to www", "direction differs"),
        ("What is 15 percent of 80?", "15 is what percent of 80?", "requests differ"),
        (
            "Is it noon in London if it is 9 in Rome?",
            "Is it noon in Rome if it is 9 in London?",
            "order differs",
        ),
        (
            "Delete the file in the folder that is locked",
            "Delete the locked file in the folder",
            "direction differs",
        ),
        (
            "Stop my bot from messaging users",
            "Stop users from messaging my bot",
            "direction differs",
        ),
        ("Is list a a part of list b?", "Is list b a part of list a?", "direction differs"),
        (
            "Should it run before I lint or after I test?",
            "Should it run after I lint or before I test?",
            "direction differs",
        ),
        ("What is a casual relation?", "What is a causal relation?", "words differ"),
        ("Pass the argument to a script", "Pass the arguments to a script", "numbers differ"),
    ],
)
def test_other_meanings_are_blocked(a, b, reason):
    assert blocked(a, b) == blocked(b, a) == reason


def test_nothing_of_the_labelled_half_that_is_held_back_is_answered_wrongly():
    held = [pair for pair in PAIRS if pair.half == HELD]
    hits = Counter(pair.same for pair in held if blocked(pair.a, pair.b) is None)
    assert wilson(hits[False], hits.total())[1] <= 0.03
    assert hits[True] >= 0.25 * sum(pair.same for pair in held)


def test_the_labelled_set_is_what_it_says():
    assert len(PAIRS) >= 400
    coding = {"Python", "JavaScript", "Java", "git", "Docker", "SQL", "Linux", "CSS", "Go", "Rust"}
    kinds = Counter(pair.kind for pair in PAIRS)
    assert {"negation", "entity", "number", "direction", "scope", "language"} <= set(kinds)
    assert sum(any(word in pair.a for word in coding) for pair in PAIRS) > len(PAIRS) / 3
    assert len({(pair.a, pair.b) for pair in PAIRS}) == len(PAIRS)


# -- properties ----------------------------------------------------------------------------------


@given(st.text(max_size=300), st.text(max_size=300))
def test_it_is_symmetric_on_any_text(a, b):
    assert compare(facts(a), facts(b)) == compare(facts(b), facts(a))


@given(st.sampled_from(PAIRS))
def test_it_is_symmetric_on_questions(pair):
    assert compare(facts(pair.a), facts(pair.b)) == compare(facts(pair.b), facts(pair.a))


@given(st.text(max_size=300))
def test_a_text_means_what_it_means(text):
    assert blocked(text, text) is None


@given(st.sampled_from(TEXTS), st.integers(2, 10**6), st.integers(2, 10**6), st.data())
def test_another_number_blocks(text, number, other, data):
    assume(number != other)
    words = text.split()
    at = data.draw(st.integers(0, len(words)))
    one, two = (" ".join((*words[:at], str(n), *words[at:])) for n in (number, other))
    assert blocked(one, two)


@given(st.sampled_from([pair.a for pair in PAIRS if DIGIT.search(pair.a)]), st.integers(1, 9))
def test_a_changed_digit_blocks(text, step):
    digit = DIGIT.search(text)
    changed = f"{text[: digit.start()]}{(int(digit[0]) + step) % 10}{text[digit.end() :]}"
    assert blocked(text, changed)


@given(st.sampled_from(TEXTS), st.sampled_from(["not", "never", "without", "except"]), st.data())
def test_an_added_negation_blocks(text, negation, data):
    words = text.split()
    at = data.draw(st.integers(0, len(words)))
    assert blocked(text, " ".join((*words[:at], negation, *words[at:])))


@pytest.mark.parametrize(
    "piece", ['"', "`", "'a ", "/", "a.", "-a ", "1,", "a_", "x ", "<", "how to ", "```", "http:"]
)
def test_reading_takes_time_that_grows_with_the_text(piece):
    # a pattern that backtracks would not end within the time a test has
    assert facts(piece * 20_000 + "?") is not None
