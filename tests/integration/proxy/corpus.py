"""Requests that no good client sends, byte by byte; each must be refused before any engine."""

import asyncio
import json


async def talk(port: int, data: bytes) -> bytes:
    """Send bytes, half-close nothing, and return everything until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


PLACE = "llmctl_the-token-goes-here"


def head(*lines: str, token: str = PLACE) -> bytes:
    """Return a request's head; latin-1, as it goes over the wire."""
    fields = [*lines, f"x-api-key: {token}", "Connection: close"]
    return "\r\n".join([*fields, "", ""]).encode("latin-1")


def shaped(answer: bytes) -> tuple[int, str]:
    """Return status and error type of an answer that must be Anthropic-shaped."""
    start, _, body = answer.partition(b"\r\n\r\n")
    status = int(start.split()[1])
    error = json.loads(body)
    assert error["type"] == "error"
    assert error["error"]["message"]
    assert b"request-id: " + error["request_id"].encode() in start
    assert b"Traceback" not in answer
    return status, error["error"]["type"]


MESSAGES = "POST /v1/messages HTTP/1.1"
LOCAL = "Host: 127.0.0.1"
CHUNKED = "Transfer-Encoding: chunked"


def message(*fields: str, body: bytes = b"") -> bytes:
    """Return a POST of a message with these fields, and a body as it is."""
    return head(MESSAGES, LOCAL, *fields) + body


def raw(name: str, token: str) -> bytes:
    """Return a request of the corpus as one sends it who may: only its form is at fault."""
    return RAW[name].replace(PLACE.encode(), token.encode())


RAW = {
    # -- not HTTP/1.1 to this server
    "not http": b"hello there\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 2.0": head("POST /v1/messages HTTP/2.0", LOCAL),
    "http 1.2": head("POST /v1/messages HTTP/1.2", LOCAL),
    "http 0.9": b"GET /v1/models\r\n\r\n",
    "connect": head("CONNECT 127.0.0.1:22 HTTP/1.1", LOCAL),
    "absolute uri": head("POST http://evil.example/v1/messages HTTP/1.1", LOCAL),
    "absolute uri of ours": head("GET http://127.0.0.1/v1/models HTTP/1.1", LOCAL),
    "asterisk": head("OPTIONS * HTTP/1.1", LOCAL),
    "no slash": head("GET v1/models HTTP/1.1", LOCAL),
    "upgrade": message("Upgrade: h2c", "HTTP2-Settings: AAA"),
    "websocket": head(
        "GET /v1/messages HTTP/1.1", LOCAL, "Upgrade: websocket", "Connection: Upgrade"
    ),
    # -- how long is the body?
    "both framings": message("Content-Length: 5", CHUNKED),
    "framings the other way": message(CHUNKED, "Content-Length: 5"),
    "two lengths": message("Content-Length: 5", "Content-Length: 6"),
    "two equal lengths": message("Content-Length: 5", "Content-Length: 5", body=b"[1,2]"),
    "signed length": message("Content-Length: +13"),
    "underscored length": message("Content-Length: 1_3"),
    "hexadecimal length": message("Content-Length: 0x13"),
    "empty length": message("Content-Length: "),
    "huge length": message("Content-Length: " + "9" * 30),
    "length list": message("Content-Length: 13, 13"),
    "negative length": message("Content-Length: -1"),
    "xchunked": message("Transfer-Encoding: xchunked"),
    "chunked first": message("Transfer-Encoding: chunked, identity"),
    "twice chunked": message("Transfer-Encoding: chunked, chunked"),
    "gzip as framing": message("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked in two fields": message(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "chunks in http 1.0": head("POST /v1/messages HTTP/1.0", LOCAL, CHUNKED) + b"0\r\n\r\n",
    "tab before chunked": message("Transfer-Encoding: \x0bchunked"),
    "space before colon": message("Transfer-Encoding : chunked"),
    "bad chunk": message(CHUNKED, body=b"zz\r\n\r\n"),
    "signed chunk": message(CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"),
    "huge chunk": message(CHUNKED, body=b"f" * 32 + b"\r\n"),
    "chunks of bare lf": message(CHUNKED, body=b"2\n{}\n0\n\n"),
    "chunk longer than said": message(CHUNKED, body=b"2\r\n{}{}\r\n0\r\n\r\n"),
    # -- header fields
    "space in a name": message("X Field: 1"),
    "no colon": message("X-Field"),
    "no name": message(": 1"),
    "folded": message("X-Field: 1", " 2"),
    "nul": message("X-Field: \x00"),
    "bare cr": message("X-Field: a\rX-Other: b"),
    "bare lf": f"{MESSAGES}\n{LOCAL}\nx-api-key: {PLACE}\nConnection: close\n\n".encode(),
    "long line": head("POST /" + "a" * 20_000 + " HTTP/1.1", LOCAL),
    "long field": message("X-Field: " + "a" * 20_000),
    "many fields": message(*(f"X-{n}: 1" for n in range(500))),
    "expect": message("Expect: nonsense", "Content-Length: 2"),
    # -- who asks whom
    "no host": head(MESSAGES),
    "empty host": head(MESSAGES, "Host: "),
    "two hosts": head(MESSAGES, LOCAL, "Host: localhost"),
    "foreign host": head(MESSAGES, "Host: evil.example"),
    "host with a user": head(MESSAGES, "Host: 127.0.0.1@evil.example"),
    "origin": message("Origin: null", "Content-Length: 2"),
    "fetch site": message("Sec-Fetch-Site: cross-site", "Content-Length: 2"),
    "preflight": head("OPTIONS /v1/messages HTTP/1.1", LOCAL, "Origin: https://evil.example"),
}
