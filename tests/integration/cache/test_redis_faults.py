"""Redis dead, frozen, full, locked: requests go on, and it is used again when it is back.

Behaviour is judged by counts: what callers got, what the server saw, what the breaker says.
"""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator

import pytest

from llmctl.cache.address import redis_address
from llmctl.cache.breaker import Breaker, BreakerState
from llmctl.cache.redis import QUEUE, RedisStore
from llmctl.core.clock import SystemClock
from llmctl.core.errors import LlmctlError
from tests.integration.eventually import eventually
from tests.integration.valkey import PATIENT_S, Valkey, free_port, relayed, running, valkey
from tests.streams import listening

__all__ = ["valkey"]

READS = 300
CANARY = "c4n4ry-pass"


def make(
    url: str, *, password: str | None = None, budget_s: float = PATIENT_S, **options
) -> RedisStore:
    address = redis_address(url=url, password=password)
    return RedisStore(address, clock=SystemClock(), budget_s=budget_s, **options)


@contextlib.asynccontextmanager
async def started(url: str, *, password: str | None = None, **options):
    store = make(url, password=password, **options)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[RedisStore]:
    """A store with one value under ``b"k"``."""
    async with started(valkey.url) as store:
        await eventually(lambda: store.breaker.closed)
        store.put(b"k", b"value", ttl_s=600)
        await eventually(lambda: valkey.calls("set") == 1)
        assert await store.get(b"k") == b"value"
        yield store


async def read(store: RedisStore, times: int = READS) -> list[bytes | None]:
    return [await store.get(b"k") for _ in range(times)]


def mgets(server: Valkey) -> int:
    return server.calls("mget")


# -- a server that stops answering


async def test_frozen(store, valkey, caplog):
    before = mgets(valkey)
    valkey.freeze()
    assert await read(store) == [None] * READS
    assert not store.breaker.closed
    assert store.status().failed_reads == 3
    assert "did not answer within" in store.status().detail
    valkey.thaw()
    await eventually(lambda: store.breaker.closed)
    assert await read(store) == [b"value"] * READS
    # three that opened the breaker, and a few probes, instead of 300
    assert mgets(valkey) - before - READS < 50
    assert store.status().healthy
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_read_waits_for_a_frozen_one_as_long_as_was_set(valkey, caplog):
    async with started(valkey.url, budget_s=0.02) as store:
        await eventually(lambda: store.breaker.closed)
        valkey.freeze()
        assert await read(store) == [None] * READS
        assert not store.breaker.closed
        valkey.thaw()
    assert "did not answer within 20 ms (redis.budget_s)" in caplog.records[0].getMessage()


async def test_frozen_while_many_wait(store, valkey):
    valkey.freeze()
    waiting = [store.get(b"k") for _ in range(1000)]
    assert await asyncio.gather(*waiting) == [None] * 1000
    assert not store.breaker.closed
    # twelve commands were under way, and the others were let go with the first that failed
    assert store.status().failed_reads <= 12 * 16
    valkey.thaw()


async def test_paused(store, valkey):
    before = mgets(valkey)
    valkey.command("CLIENT", "PAUSE", "3000", "ALL")
    assert await read(store) == [None] * READS
    assert not store.breaker.closed
    await eventually(lambda: store.breaker.closed)
    assert await read(store) == [b"value"] * READS
    assert mgets(valkey) - before - READS < 50


async def test_killed_and_restarted(store, valkey):
    valkey.kill()
    assert await read(store) == [None] * READS
    assert store.breaker.state in {BreakerState.OPEN, BreakerState.HALF_OPEN}
    assert store.status().failed_reads == 3
    assert valkey.url in store.status().detail
    with pytest.raises(LlmctlError, match="the cache was not cleared"):
        await store.clear()
    valkey.start(keep_port=True)
    await eventually(lambda: store.breaker.closed)
    store.put(b"k", b"value", ttl_s=600)
    await eventually(lambda: valkey.calls("set") == 1)
    assert await read(store) == [b"value"] * READS
    assert store.status().failed_reads == 3


async def test_an_outage_is_warned_of_once_whoever_meets_it_first(store, valkey, caplog):
    valkey.kill()
    for number in range(QUEUE):
        store.put(b"%d" % number, b"value", ttl_s=600)
    await eventually(lambda: not store.breaker.closed)
    assert store.status().failed_writes
    assert await read(store, 20) == [None] * 20
    assert "requests go on without it" in store.status().detail
    valkey.start(keep_port=True)
    store.put(b"k", b"value", ttl_s=600)
    await eventually(lambda: store.status().healthy)
    await eventually(lambda: valkey.calls("set") > 0)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(f"Redis at {valkey.url} ")
    assert told[1] == f"Redis at {valkey.url} works again"


async def test_restarted_between_two_reads(store, valkey):
    """Every pooled connection is dead, and the server is already back."""
    valkey.restart()
    await eventually(lambda: store.breaker.closed)
    values = await read(store, 100)
    assert set(values) == {None}
    assert store.breaker.closed
    assert store.status().failed_reads <= 1


async def test_dead_at_the_start_and_used_when_it_comes(valkey):
    valkey.kill()
    async with started(valkey.url) as store:
        assert await read(store) == [None] * READS
        assert store.status().failed_reads == 0
        assert not store.status().healthy
        store.put(b"k", b"value", ttl_s=600)
        valkey.start(keep_port=True)
        await eventually(lambda: valkey.calls("set") == 1)
        assert await store.get(b"k") == b"value"
        assert store.status().healthy


async def test_noticed_without_traffic(store, valkey):
    valkey.kill()
    await eventually(lambda: not store.status().healthy)
    assert store.status().failed_reads == 0


async def test_writes_of_an_outage_are_made_afterwards_the_oldest_dropped(store, valkey):
    valkey.kill()
    await read(store, 5)
    for number in range(QUEUE + 10):
        store.put(b"%d" % number, b"value", ttl_s=600)
    assert store.status().dropped_writes == 10
    valkey.start(keep_port=True)
    await eventually(lambda: valkey.calls("set") == QUEUE)
    assert await store.get(b"9") is None
    assert await store.get(b"10") == b"value"
    assert store.status().failed_writes == 0


async def test_closing_does_not_wait_for_a_dead_server(store, valkey):
    valkey.freeze()
    await read(store, 5)
    store.put(b"lost", b"value", ttl_s=600)
    await store.close()
    assert store.status().dropped_writes == 1
    valkey.thaw()


# -- nothing behind the address


async def test_a_port_that_takes_connections_and_says_nothing():
    connections = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    async with listening(silent) as port, started(f"redis://127.0.0.1:{port}") as store:
        assert await read(store) == [None] * READS
        await eventually(lambda: "within 250 ms" in store.status().detail)
        assert await read(store) == [None] * READS
        # probes alone go there
        assert len(connections) < READS // 3


async def test_a_port_that_swallows_connections():
    """A full backlog: the kernel answers no further SYN, as a firewall that drops them."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        async with started(f"redis://127.0.0.1:{listener.getsockname()[1]}") as store:
            assert await read(store) == [None] * READS
            await eventually(
                lambda: "cannot" in store.status().detail or "250" in store.status().detail
            )
            assert store.status().failed_reads == 0


async def test_something_that_is_no_redis(caplog):
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with listening(web) as port, started(f"redis://127.0.0.1:{port}") as store:
        await eventually(lambda: "cannot be used" in store.status().detail)
        assert await read(store) == [None] * READS
        assert not store.breaker.closed
    assert "Traceback" not in caplog.text


async def test_a_host_that_does_not_exist():
    async with started("redis://no-such-host.invalid:6379") as store:
        await eventually(lambda: "no-such-host.invalid" in store.status().detail)
        assert await read(store) == [None] * READS


# -- a server that says no


def connections(server: Valkey) -> int:
    for line in server.command("INFO", "stats").decode().splitlines():
        if line.startswith("total_connections_received:"):
            return int(line.partition(":")[2])
    raise AssertionError("no such figure")


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [(None, "asks for a password; set REDIS_PASSWORD"), (CANARY, "refuses the password")],
)
async def test_a_wrong_password_is_shown_and_not_tried_again(ours, sentence, caplog):
    with running(password="sesame") as server:
        async with started(server.url, password=ours) as store:
            await eventually(lambda: sentence in store.status().detail)
            before = connections(server)
            assert await read(store) == [None] * READS
            # the one that asks for the figure
            assert connections(server) - before == 1
            assert store.breaker.probe_after_s == 30
            assert len(caplog.records) == 1
            assert CANARY not in f"{store.status()!r} {store!r} {vars(store)!r} {caplog.text}"


async def test_the_password_is_tried_again_after_a_while():
    breaker = Breaker(misconfigured_probe_s=0.05)
    with running(password="sesame") as server:
        async with started(server.url, password="sesam", breaker=breaker) as store:
            await eventually(lambda: "refuses the password" in store.status().detail)
            server.command("CONFIG", "SET", "requirepass", "sesam")
            await eventually(lambda: breaker.closed)
            assert store.status().healthy


async def test_a_server_before_hello_that_repeats_the_password(caplog):
    """Redis 5 has no HELLO, and quotes the arguments of what it does not know."""

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2].decode())
            if words[0] == "HELLO":
                quoted = " ".join(f"`{word}`," for word in words[1:])
                reply = f"-ERR unknown command `HELLO`, with args beginning with: {quoted}"
            else:
                reply = {"AUTH": "+OK", "MGET": "*1\r\n$-1"}[words[0]]
            seen.append(words[0])
            writer.write(reply.encode() + b"\r\n")
        writer.close()

    seen: list[str] = []
    async with (
        listening(old) as port,
        started(f"redis://127.0.0.1:{port}", password=CANARY) as store,
    ):
        await eventually(lambda: store.breaker.closed)
        assert await store.get(b"k") is None
        assert store.status().failed_reads == 0
    assert seen.index("HELLO") < seen.index("AUTH") < seen.index("MGET")
    assert CANARY not in caplog.text


async def test_an_error_that_repeats_the_password_is_shown_without_it(caplog):
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(f"-ERR what is {CANARY}?\r\n".encode())
        await reader.read()
        writer.close()

    async with (
        listening(rude) as port,
        started(f"redis://127.0.0.1:{port}", password=CANARY) as store,
    ):
        await eventually(lambda: "what is ****?" in store.status().detail)
        assert CANARY not in store.status().detail
    assert CANARY not in caplog.text


async def test_rights_that_are_missing(valkey):
    valkey.command("ACL", "SETUSER", "guest", "on", ">guest", "~*", "+ping", "+hello")
    async with started(valkey.url.replace("//", "//guest:guest@")) as store:
        await eventually(lambda: "see its ACL" in store.status().detail)
        assert "mget" in store.status().detail
        assert await read(store) == [None] * READS


async def test_a_cluster():
    with running("--cluster-enabled", "yes") as server:
        async with started(server.url) as store:
            await eventually(lambda: "part of a cluster" in store.status().detail)
            assert store.breaker.probe_after_s == 30


async def test_before_anything_was_reached_the_status_says_so(valkey):
    store = make(valkey.url)
    assert "has not been reached yet" in store.status().detail
    assert await store.get(b"k") is None
    await store.close()
    assert await store.get(b"k") is None


async def test_a_database_that_does_not_exist(valkey):
    async with started(valkey.url.replace("/0", "/99")) as store:
        await eventually(lambda: "cannot be used as it is set up" in store.status().detail)
        assert store.breaker.probe_after_s == 30


# -- a server that reads but does not write


@pytest.mark.parametrize(
    ("break_it", "mend_it", "word"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "maxmemory"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read only"),
    ],
)
async def test_refused_writes_leave_the_reads_going(store, valkey, break_it, mend_it, word, caplog):
    valkey.command(*break_it)
    for number in range(20):
        store.put(b"%d" % number, b"value", ttl_s=600)
    await eventually(lambda: store.status().failed_writes == 20)
    await eventually(lambda: store.status().detail)
    assert await read(store) == [b"value"] * READS
    assert store.breaker.closed
    assert store.status().failed_reads == 0
    assert "nothing new is cached" in store.status().detail
    assert word in store.status().detail
    assert len(caplog.records) == 1
    valkey.command(*mend_it)
    store.put(b"late", b"value", ttl_s=600)
    await eventually(lambda: store.status().healthy)
    assert await store.get(b"late") == b"value"


async def test_paused_writes_leave_the_reads_going(store, valkey):
    valkey.command("CLIENT", "PAUSE", "60000", "WRITE")
    store.put(b"slow", b"value", ttl_s=600)
    await eventually(lambda: store.status().failed_writes == 1)
    assert await read(store) == [b"value"] * READS
    assert store.breaker.closed
    valkey.command("CLIENT", "UNPAUSE")


# -- TLS: a front that Valkey stands behind, since the wheel is built without it


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("certificates for tests are made with openssl, which is not installed")
    place = tmp_path_factory.mktemp("tls")
    for name in ("ours", "theirs"):
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]
        command += ["subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(place / f"{name}.key"), "-out", str(place / f"{name}.pem")]
        subprocess.run(command, check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def server_tls(certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "ours.pem", certificates / "ours.key")
    return context


async def test_tls_with_a_certificate_we_know(valkey, certificates, server_tls):
    async with relayed(valkey, tls=server_tls) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificates / 'ours.pem'}"
        async with started(url) as store:
            await eventually(lambda: store.breaker.closed)
            store.put(b"k", b"value", ttl_s=600)
            await eventually(lambda: valkey.calls("set") == 1)
            assert await store.get(b"k") == b"value"


async def test_tls_with_a_certificate_nobody_vouches_for(valkey, certificates, server_tls):
    async with relayed(valkey, tls=server_tls) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificates / 'theirs.pem'}"
        async with started(url) as store:
            await eventually(lambda: "a certificate that is not trusted" in store.status().detail)
            assert store.breaker.probe_after_s == 30
            assert await read(store) == [None] * READS
    assert valkey.calls("hello") == 0


async def test_tls_client_at_a_plain_port(valkey):
    async with started(valkey.url.replace("redis://", "rediss://")) as store:
        await eventually(lambda: "not been reached yet" not in store.status().detail)
        assert not store.status().healthy
        assert await read(store) == [None] * READS


async def test_a_port_that_nobody_listens_on():
    async with started(f"redis://127.0.0.1:{free_port()}") as store:
        await eventually(lambda: "cannot be used: Error" in store.status().detail)
        assert await read(store) == [None] * READS
