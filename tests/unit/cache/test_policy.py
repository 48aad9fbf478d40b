import pytest

from llmctl.cache.policy import FULL, NONE, REFRESH, cache_use


@pytest.mark.parametrize(
    ("header", "use"),
    [
        (None, FULL),
        ("", FULL),
        ("no-cache", REFRESH),
        (" No-Cache , max-age=5", REFRESH),
        ("max-age=0", REFRESH),
        ("max-age=3600", FULL),
        ("no-store", NONE),
        ("no-cache, no-store", NONE),
        ("no-cachet", FULL),
        (",,;=", FULL),
    ],
)
def test_directives(header, use):
    assert cache_use(header) == use


def test_a_cache_that_is_off_is_not_asked_whatever_the_header_says():
    assert cache_use("no-cache", enabled=False) == NONE
