"""Fresh ids: the client merges turns and skips tools whose id it has seen before."""

from os import urandom


def message_id() -> str:
    """Return a new ``msg_…`` id."""
    return "msg_" + urandom(12).hex()


def tool_use_id() -> str:
    """Return a new ``toolu_…`` id."""
    return "toolu_" + urandom(12).hex()


def request_id() -> str:
    """Return a new ``req_…`` id."""
    return "req_" + urandom(12).hex()
