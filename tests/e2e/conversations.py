"""Scripts for the engine: what it says next follows from the conversation it is shown.

A client may send a request again, and several at once; a script that looks only at the request
gives each the same answer.
"""

from collections.abc import Callable
from typing import Any

from tests.emulators.ollama import Answer, HttpError, OllamaEmulator, Recorded
from tests.emulators.server import Script

Scripted = Answer | HttpError
Message = dict[str, Any]


def scripted(script: Script) -> OllamaEmulator:
    """An engine that hands out no vocabulary, so that everybody counts four characters a token.

    By the emulator's small vocabulary the client's 76 kB would be too long for any window.
    """
    return OllamaEmulator(script, vocabulary={})


def messages(request: Recorded) -> list[Message]:
    return request.body["messages"]


def turns(request: Recorded) -> int:
    """How many answers the conversation has so far."""
    return sum(message["role"] == "assistant" for message in messages(request))


def tool_results(request: Recorded) -> list[str]:
    """What tools have said, in the order the engine is shown it."""
    return [message["content"] for message in messages(request) if message["role"] == "tool"]


def words(request: Recorded) -> str:
    """The last words of the user, context of the client included."""
    said = [message["content"] for message in messages(request) if message["role"] == "user"]
    return said[-1]


def says(request: Recorded, text: str) -> bool:
    """Whether the conversation holds ``text`` anywhere."""
    return any(text in message["content"] for message in messages(request))


def in_turn(*answers: Scripted) -> Callable[[Recorded], Scripted]:
    """The first answer to a new conversation, the second to one with an answer in it, and so on."""

    def script(request: Recorded) -> Scripted:
        return answers[min(turns(request), len(answers) - 1)]

    return script
