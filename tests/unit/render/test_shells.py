import re
import shlex

from hypothesis import given
from hypothesis import strategies as st

from llmctl.render.shells import Shell, assignments, packed_exports


def test_sh():
    assert assignments({"A": "plain", "B": "", "C": "it's"}, Shell.SH) == (
        "export A=plain\nexport B=''\nexport C='it'\"'\"'s'\n"
    )


def test_fish():
    assert assignments({"A": "plain", "B": "", "C": "it's \\ $x"}, Shell.FISH) == (
        "set -gx A 'plain'\nset -gx B ''\nset -gx C 'it\\'s \\\\ $x'\n"
    )


def test_powershell():
    assert assignments({"A": "plain", "B": "it's ’odd‘"}, Shell.POWERSHELL) == (
        "$env:A = 'plain'\n$env:B = 'it''s ’’odd‘‘'\n"
    )


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(value=TEXT)
def test_fish_reads_back_what_was_quoted(value):
    body = assignments({"A": value}, Shell.FISH).removeprefix("set -gx A '").removesuffix("'\n")
    assert re.fullmatch(r"(?:[^\\']|\\.)*", body, re.DOTALL)
    assert re.sub(r"\\(.)", r"\1", body, flags=re.DOTALL) == value


@given(value=TEXT)
def test_powershell_reads_back_what_was_quoted(value):
    body = (
        assignments({"A": value}, Shell.POWERSHELL).removeprefix("$env:A = '").removesuffix("'\n")
    )
    assert re.fullmatch("(?:[^'‘’‚‛]|(['‘’‚‛])\\1)*", body, re.DOTALL)
    assert re.sub("(['‘’‚‛])\\1", r"\1", body) == value


@given(value=TEXT)
def test_sh_reads_back_what_was_quoted(value):
    assert shlex.split(assignments({"A": value}, Shell.SH)) == ["export", f"A={value}"]


def test_packed_lines_hold_as_many_as_fit():
    lines = packed_exports({"A": "1", "B": "2", "LONG": '"$(cat /x)"', "C": "3"}, width=24)
    assert lines == ["export A=1 B=2", 'export LONG="$(cat /x)"', "export C=3"]


def test_packed_lines_keep_what_is_longer_than_a_line():
    assert packed_exports({"A": "x" * 50}, width=10) == ["export A=" + "x" * 50]
