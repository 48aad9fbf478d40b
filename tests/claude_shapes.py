"""Requests shaped like those of Claude Code 2.1: same fields, sizes and schema features, own words.

``main_request`` is the first request of a headless run (about 76 kB, 24 tools), ``tool_turn``
appends a turn as the client does: the answer is echoed, ``cache_control`` moves to the last block
and results arrive in the order the tools finished. Everything is deterministic.
"""

import copy
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

EPHEMERAL = {"type": "ephemeral"}
BILLING = "x-anthropic-billing-header: cc_version=2.1.197.{suffix}; cc_entrypoint=sdk-cli;"

_SENTENCES = (
    "Read the file before you change it, because an edit against stale text is refused.",
    "Keep the answer short unless the person asked for the reasoning behind a decision.",
    "When two steps do not depend on each other, start both at once and wait for the pair.",
    "Paths are absolute; a relative path is taken from the directory named in the environment.",
    "If a command may run longer than two minutes, start it in the background and look later.",
    "Never print a credential, a token or the content of a file that holds one.",
    "Prefer `rg --files -g '*.py'` to walking the tree by hand; it honours the ignore files.",
    "State what failed, with the exit status and the last lines of output, before you retry.",
    "A test that fails for a new reason is progress; say so and go on to the next cause.",
    "Do not commit, push or rewrite history unless the person asks for it in so many words.",
    "The working tree may change between two calls: check again when a result surprises you.",
    "Numbers in a report come from a command that was run, not from memory.",
)


def prose(chars: int, *, start: int = 0) -> str:
    """Return exactly ``chars`` characters of Markdown-like instructions."""
    lines: list[str] = []
    size = 0
    for n in itertools.count(start):
        lead = f"\n## Part {n // 7 + 1}\n\n" if n % 7 == 0 else "- "
        lines.append(lead + _SENTENCES[(n * 5 + n // 12) % len(_SENTENCES)])
        size += len(lines[-1]) + 1
        if size > chars:
            return "\n".join(lines)[:chars]
    raise AssertionError


def _string(chars: int = 60, **more: Any) -> Body:
    return {"description": prose(chars, start=chars), "type": "string", **more}


def _tool(
    name: str, chars: int, properties: Body | None = None, required: Sequence[str] = ()
) -> Body:
    schema: Body = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties or {},
    }
    if required:
        schema["required"] = list(required)
    schema["additionalProperties"] = False
    return {"name": name, "description": prose(chars, start=len(name)), "input_schema": schema}


_MAX = 9007199254740991
_FLAG = {"description": "Whether to do it in the background", "type": "boolean"}
_METADATA = {
    "description": "Anything to keep with the task",
    "type": "object",
    "propertyNames": {"type": "string"},
    "additionalProperties": {},
}
_FINDING = {
    "type": "object",
    "properties": {
        "file": _string(50),
        "line": {"type": "integer", "minimum": -_MAX, "maximum": _MAX},
        "summary": _string(40),
        "failure_scenario": _string(45),
        "verdict": _string(55, enum=["CONFIRMED", "PLAUSIBLE"]),
        "outcome": _string(80, enum=["fixed", "skipped", "no_change_needed"]),
    },
    "required": ["file", "summary", "failure_scenario"],
    "additionalProperties": False,
}
_STATUS = {
    "description": "New status of the task",
    "anyOf": [
        {"type": "string", "enum": ["pending", "in_progress", "completed"]},
        {"type": "string", "const": "deleted"},
    ],
}
_IDS = {"description": "Other tasks", "type": "array", "items": {"type": "string"}}


def tools() -> list[Body]:
    """Return the 24 tools of a headless run, with every schema feature the client uses."""
    return [
        _tool(
            "Agent",
            1227,
            {
                "description": _string(50),
                "prompt": _string(40),
                "subagent_type": _string(60),
                "model": _string(200, enum=["sonnet", "opus", "haiku", "fable"]),
                "run_in_background": _FLAG,
                "isolation": _string(200, enum=["worktree", "remote"]),
            },
            ("description", "prompt"),
        ),
        _tool(
            "Bash",
            1196,
            {
                "command": _string(30),
                "timeout": {"description": "Milliseconds, at most 600000", "type": "number"},
                "description": _string(700),
                "run_in_background": _FLAG,
                "dangerouslyDisableSandbox": _FLAG,
            },
            ("command",),
        ),
        _tool(
            "CronCreate",
            2924,
            {
                "cron": _string(200),
                "prompt": _string(60),
                "recurring": {"description": prose(300), "type": "boolean"},
                "durable": {"description": prose(200), "type": "boolean"},
            },
            ("cron", "prompt"),
        ),
        _tool("CronDelete", 167, {"id": _string(40)}, ("id",)),
        _tool("CronList", 106),
        _tool(
            "Edit",
            360,
            {
                "file_path": _string(60),
                "old_string": _string(30),
                "new_string": _string(60),
                "replace_all": {"description": prose(50), "default": False, "type": "boolean"},
            },
            ("file_path", "old_string", "new_string"),
        ),
        _tool("EnterWorktree", 3031, {"name": _string(230), "path": _string(200)}),
        _tool(
            "ExitWorktree",
            1923,
            {"action": _string(120, enum=["keep", "remove"]), "discard_changes": _FLAG},
            ("action",),
        ),
        _tool(
            "NotebookEdit",
            619,
            {
                "notebook_path": _string(70),
                "cell_id": _string(150),
                "new_source": _string(40),
                "cell_type": _string(90, enum=["code", "markdown"]),
                "edit_mode": _string(60, enum=["replace", "insert", "delete"]),
            },
            ("notebook_path", "new_source"),
        ),
        _tool(
            "Read",
            838,
            {
                "file_path": _string(50),
                "offset": {"type": "integer", "minimum": 0, "maximum": _MAX},
                "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": _MAX},
                "pages": _string(90),
            },
            ("file_path",),
        ),
        _tool(
            "ReportFindings",
            574,
            {
                "level": _string(90, enum=["low", "medium", "high", "xhigh", "max"]),
                "findings": {
                    "description": prose(100),
                    "maxItems": 32,
                    "type": "array",
                    "items": _FINDING,
                },
            },
            ("findings",),
        ),
        _tool(
            "ScheduleWakeup",
            2802,
            {
                "delaySeconds": {"description": prose(120), "type": "number"},
                "reason": _string(160),
                "prompt": _string(280),
            },
            ("delaySeconds", "reason", "prompt"),
        ),
        _tool(
            "SendMessage",
            655,
            {"to": _string(80), "summary": _string(90, maxLength=200), "message": _string(40)},
            ("to", "message"),
        ),
        _tool("Skill", 1713, {"skill": _string(80), "args": _string(50)}, ("skill",)),
        _tool(
            "TaskCreate",
            2146,
            {
                "subject": _string(40),
                "description": _string(40),
                "activeForm": _string(90),
                "metadata": _METADATA,
            },
            ("subject", "description"),
        ),
        _tool("TaskGet", 732, {"taskId": _string(40)}, ("taskId",)),
        _tool("TaskList", 998),
        _tool(
            "TaskOutput",
            1049,
            {
                "task_id": _string(40),
                "block": {"description": "Wait for it", "default": True, "type": "boolean"},
                "timeout": {
                    "description": "Milliseconds",
                    "default": 30000,
                    "type": "number",
                    "minimum": 0,
                    "maximum": 600000,
                },
            },
            ("task_id", "block", "timeout"),
        ),
        _tool("TaskStop", 203, {"task_id": _string(40), "shell_id": _string(60)}),
        _tool(
            "TaskUpdate",
            2243,
            {
                "taskId": _string(40),
                "subject": _string(40),
                "description": _string(40),
                "activeForm": _string(90),
                "status": _STATUS,
                "addBlocks": _IDS,
                "addBlockedBy": _IDS,
                "owner": _string(40),
                "metadata": _METADATA,
            },
            ("taskId",),
        ),
        _tool(
            "WebFetch",
            374,
            {"url": _string(40, format="uri"), "prompt": _string(50)},
            ("url", "prompt"),
        ),
        _tool(
            "WebSearch",
            311,
            {"query": _string(30, minLength=2), "allowed_domains": _IDS, "blocked_domains": _IDS},
            ("query",),
        ),
        _tool(
            "Workflow",
            18780,
            {
                "script": _string(200, maxLength=524288),
                "name": _string(150),
                "description": _string(60),
                "title": _string(60),
                "args": {"description": prose(400)},
                "scriptPath": _string(250),
                "resumeFromRunId": _string(300, pattern="^wf_[a-z0-9-]{6,}$"),
            },
        ),
        _tool(
            "Write",
            240,
            {"file_path": _string(60), "content": _string(40)},
            ("file_path", "content"),
        ),
    ]


def reminder(text: str) -> str:
    """Return ``text`` in the tag the client puts around context that is not the person's own."""
    return f"<system-reminder>\n{text}\n</system-reminder>\n\n"


def main_request(
    prompt: str = "Please run two commands",
    *,
    model: str = "qwen3-coder",
    stream: bool = True,
    session: str = "f2b547e0-39ce-4115-9abf-d0948be9129d",
    billing_suffix: str = "9a2",
) -> Body:
    """Return the first request of a headless run as a JSON object, about 76 kB encoded.

    ``session`` and ``billing_suffix`` are what differs between two runs of the same prompt.
    """
    user_id = {"device_id": "3" * 64, "account_uuid": "", "session_id": session}
    request: Body = {
        "model": model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": reminder("# currentDate\nToday is 2026-11-22.")},
                    {"type": "text", "text": prompt, "cache_control": EPHEMERAL},
                ],
            },
            {"role": "system", "content": prose(6062, start=3)},
        ],
        "system": [
            {"type": "text", "text": BILLING.format(suffix=billing_suffix)},
            {"type": "text", "text": prose(62), "cache_control": EPHEMERAL},
            {"type": "text", "text": "\n" + prose(5572, start=9), "cache_control": EPHEMERAL},
        ],
        "tools": tools(),
        "metadata": {"user_id": json.dumps(user_id, separators=(",", ":"))},
        "max_tokens": 32000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
    }
    return {**request, "stream": True} if stream else request


@dataclass(frozen=True, kw_only=True)
class Call:
    """One tool call of an answer, with what the tool said."""

    id: str
    name: str
    input: Body
    result: str | list[Body] = "ok"
    is_error: bool | None = None


def tool_turn(
    request: Body,
    calls: Sequence[Call],
    *,
    text: str = "",
    thinking: str = "",
    finished: Sequence[int] | None = None,
) -> Body:
    """Return the next request of the conversation: the answer with ``calls``, then their results.

    ``finished`` gives the order in which the tools ended, as positions in ``calls``; by default
    the order of the calls. ``request`` is left as it was.
    """
    content: list[Body] = []
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": ""})
    if text:
        content.append({"type": "text", "text": text})
    content += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in calls]
    order = range(len(calls)) if finished is None else finished
    results = [_result(calls[position]) for position in order]
    return _appended(request, content, results)


def user_turn(request: Body, answer: str, prompt: str) -> Body:
    """Return the request after a text ``answer`` and the person's next ``prompt``."""
    return _appended(
        request, [{"type": "text", "text": answer}], [{"type": "text", "text": prompt}]
    )


def with_billing(request: Body, suffix: str) -> Body:
    """Return ``request`` with another billing block, as newer clients send one with each turn."""
    block = {"type": "text", "text": BILLING.format(suffix=suffix)}
    return {**request, "system": [block, *request["system"][1:]]}


def title_request(prompt: str = "Please run two commands", *, model: str = "qwen3-coder") -> Body:
    """Return the request for a session's title that interactive mode sends beside the first."""
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
        "additionalProperties": False,
    }
    return {
        "model": model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}],
        "system": [
            {"type": "text", "text": BILLING.format(suffix="0c1")},
            {"type": "text", "text": prose(900)},
        ],
        "tools": [],
        "metadata": {"user_id": "{}"},
        "max_tokens": 32000,
        "temperature": 1,
        "output_config": {
            "effort": "high",
            "format": {"type": "json_schema", "schema": schema},
        },
        "stream": True,
    }


def web_search_request(query: str = "python 3.14", *, model: str = "qwen3-coder") -> Body:
    """Return the request the client's WebSearch tool makes: a server tool without a schema."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": query}]}],
        "system": [{"type": "text", "text": prose(300)}],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "tool_choice": {"type": "auto"},
        "max_tokens": 32000,
        "stream": True,
    }


def encode(request: Body) -> bytes:
    """Return the bytes the client would send."""
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def _result(call: Call) -> Body:
    block: Body = {"tool_use_id": call.id, "type": "tool_result", "content": call.result}
    return block if call.is_error is None else {**block, "is_error": call.is_error}


def _appended(request: Body, answer: list[Body], said: list[Body]) -> Body:
    following = copy.deepcopy(request)
    for turn in following["messages"]:
        turn["content"] = _without_cache_control(turn["content"])
    said = [*said[:-1], {**said[-1], "cache_control": EPHEMERAL}]
    following["messages"] += [
        {"role": "assistant", "content": answer},
        {"role": "user", "content": said},
    ]
    return following


def _without_cache_control(content: str | list[Body]) -> str | list[Body]:
    """Return content as the client re-sends it: a prompt of one text block becomes a string."""
    if isinstance(content, str):
        return content
    for block in content:
        block.pop("cache_control", None)
    if len(content) == 1 and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content
