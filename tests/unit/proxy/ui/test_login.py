"""Codes that work once, and cookies that only we can make."""

from base64 import urlsafe_b64decode

from hypothesis import given
from hypothesis import strategies as st

from llmctl.proxy.ui.login import CODE_S, MAX_CODES, SESSION_S, Codes, Sessions
from tests.clocks import ManualClock

DIGEST = "ab" * 32
KEY = b"k" * 32


def test_a_code_works_once():
    codes = Codes(ManualClock())
    code = codes.issue(DIGEST)
    assert codes.redeem(code) == DIGEST
    assert codes.redeem(code) is None


def test_a_code_has_an_end():
    clock = ManualClock()
    codes = Codes(clock)
    early, late = codes.issue(DIGEST), codes.issue(DIGEST)
    clock.advance(CODE_S - 0.01)
    assert codes.redeem(early) == DIGEST
    clock.advance(0.01)
    assert codes.redeem(late) is None


def test_codes_do_not_repeat_and_wrong_ones_are_worth_nothing():
    codes = Codes(ManualClock())
    given_out = {codes.issue(DIGEST) for _ in range(MAX_CODES)}
    assert len(given_out) == MAX_CODES
    assert all(len(code) == 22 for code in given_out)
    for wrong in ("", "x", "\ud800", DIGEST):
        assert codes.redeem(wrong) is None


def test_the_oldest_code_makes_room():
    codes = Codes(ManualClock())
    first, second, *_ = [codes.issue(DIGEST) for _ in range(MAX_CODES + 1)]
    assert codes.redeem(first) is None
    assert codes.redeem(second) == DIGEST


def test_a_cookie_is_good_for_a_week():
    clock = ManualClock()
    sessions = Sessions(KEY, clock)
    cookie = sessions.cookie(DIGEST)
    clock.advance(SESSION_S - 1)
    assert sessions.digest(cookie) == DIGEST
    clock.advance(2)
    assert sessions.digest(cookie) is None


def test_a_cookie_survives_a_restart_and_not_another_key():
    clock = ManualClock()
    cookie = Sessions(KEY, clock).cookie(DIGEST)
    assert Sessions(KEY, clock).digest(cookie) == DIGEST
    assert Sessions(b"o" * 32, clock).digest(cookie) is None


def test_a_cookie_needs_no_quotes_and_tells_nothing():
    sessions = Sessions(KEY, ManualClock())
    cookie = sessions.cookie(DIGEST)
    assert cookie.replace("-", "").replace("_", "").isalnum()
    assert bytes.fromhex(DIGEST) not in urlsafe_b64decode(cookie)
    assert sessions.cookie(DIGEST) != cookie


@given(at=st.integers(0, 87), letter=st.sampled_from("ABab01-_=~ä"))
def test_one_other_letter_spoils_a_cookie(at, letter):
    sessions = Sessions(KEY, ManualClock())
    cookie = sessions.cookie(DIGEST)
    changed = cookie[:at] + letter + cookie[at + 1 :]
    assert sessions.digest(changed) == (DIGEST if changed == cookie else None)


@given(st.text())
def test_what_is_no_cookie_is_nobody(text):
    assert Sessions(KEY, ManualClock()).digest(text) is None
