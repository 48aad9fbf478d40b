import pytest

from tests.manual import PAGE, manual, quoted, text


def test_the_page_is_current():
    """After a change that is meant: ``python -m tests.manual`` writes it anew."""
    assert manual() == PAGE.read_text()


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (".dot", r"\&.dot"),
        ("'quote", r"\&\(aqquote"),
        ("--json", r"\-\-json"),
        ("a\\b", r"a\eb"),
        ("~/.x `y` ^", r"\(ti/.x \(gay\(ga \(ha"),
    ],
)
def test_nothing_is_taken_for_a_request_of_the_formatter(line, written):
    assert text(line) == written


def test_quotes_inside_quotes():
    assert quoted('say "x"') == r'"say \(dqx\(dq"'
