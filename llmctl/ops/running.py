"""The running proxy as other commands see it: where it is, its token, and what it says."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
from msgspec import Struct

from llmctl.config import addresses
from llmctl.config.load import Loaded
from llmctl.config.secrets import Secret, TokenStore, token_from_environment
from llmctl.core.errors import AuthError, BackendError
from llmctl.core.paths import find_paths
from llmctl.ops.env import CLIENT_FAMILIES, DEFAULT_CONTEXT, Served

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_ANSWER_S = 5.0


class Address(Struct, frozen=True, kw_only=True):
    """Where the proxy should be, and how we know."""

    url: str
    source: str
    """Flag, variable or place in a file that says so, for messages; empty for the default."""

    def __str__(self) -> str:
        return f"{self.url} ({self.source})" if self.source else self.url


def find_address(loaded: Loaded, environ: Mapping[str, str], *, url: str | None = None) -> Address:
    """Return where to ask: ``--url``, else what llmctl was told, else ``ANTHROPIC_BASE_URL``.

    ``ANTHROPIC_BASE_URL`` counts unless it is Anthropic's own; it beats the file and the defaults
    as every customary variable does, not flags and ``LLMCTL_*``.
    """
    if url:
        return Address(url=url.rstrip("/"), source="--url")
    serve, origins = loaded.config.serve, loaded.origins
    told = [origins[key] for key in ("serve.port", "serve.listen")]
    base = environ.get("ANTHROPIC_BASE_URL", "").rstrip("/")
    explicit = any(origin.kind in ("flag", "env") for origin in told)
    if base and not explicit and not _is_anthropic(base):
        return Address(url=base, source="ANTHROPIC_BASE_URL")
    named = next((origin.where for origin in told if origin.where), "")
    return Address(url=addresses.reachable(serve.listen, serve.port), source=named)


def is_here(address: Address) -> bool:
    """Tell whether an address is of this machine."""
    return addresses.is_local(addresses.host_of(address.url))


def find_token(address: Address, environ: Mapping[str, str]) -> Secret | None:
    """Return the token to send, or None where there is none.

    ``LLMCTL_AUTH_TOKEN``; else, for an address out of the environment, the ``ANTHROPIC_AUTH_TOKEN``
    beside it; else this installation's own, which goes to this machine only. Raises ``AuthError``
    for a token file that others can read.
    """
    override = token_from_environment(environ)
    beside = environ.get("ANTHROPIC_AUTH_TOKEN", "").strip()
    if override is None and beside and address.source == "ANTHROPIC_BASE_URL":
        return Secret(beside)
    if override is None and not is_here(address):
        return None
    return TokenStore(find_paths(environ).data, override=override).client_token()


class NoAnswer(BackendError):
    """Nothing listens there, or it does not answer in time."""


class Answer(Struct, frozen=True, kw_only=True):
    """What came back, whatever the status."""

    status: int
    body: bytes


class RunningProxy:
    """HTTP to one proxy; used as a context manager."""

    def __init__(
        self,
        address: Address,
        token: Secret | None,
        *,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        import httpx  # 0.1 s, which commands that find what they need in a file do not pay

        self._address = address
        self.url = address.url
        self._has_token = token is not None
        local = is_here(address)
        self._client = httpx.Client(
            headers={"x-api-key": token.reveal()} if token else {},
            timeout=_ANSWER_S,
            trust_env=not local,  # HTTP_PROXY must not get to see what never leaves the machine
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: "TracebackType | None",
    ) -> Literal[False]:
        self._client.close()
        return False

    def get(self, path: str) -> Answer:
        """Fetch one path; raises ``NoAnswer`` where nothing answers, ``AuthError`` on a 401."""
        return self._permitted(self.knock(path))

    def post(self, path: str) -> Answer:
        """Post nothing to one path; raises what ``get`` does."""
        return self._permitted(self.knock(path, method="POST"))

    def _permitted(self, answer: Answer) -> Answer:
        if answer.status == 401:
            sent = "refused our token" if self._has_token else "asks for a token and there is none"
            raise AuthError(
                f"the proxy at {self.url} {sent}",
                hint="run this as the user who runs llmctl serve, or set LLMCTL_AUTH_TOKEN",
            )
        return answer

    def knock(self, path: str, *, method: str = "GET") -> Answer:
        """Ask for one path, whatever its status; raises ``NoAnswer``."""
        import httpx

        try:
            response = self._client.request(method, self._address.url + path)
        except (httpx.TransportError, httpx.InvalidURL) as failure:
            raise NoAnswer(
                f"no proxy answers at {self._address}: {_reason(failure)}", hint="llmctl serve"
            ) from failure
        return Answer(status=response.status_code, body=response.content)

    @contextlib.contextmanager
    def stream(
        self, path: str, body: object, *, headers: Mapping[str, str], within_s: float
    ) -> Iterator[Iterator[str]]:
        """POST ``body`` as JSON and give the lines of the answer as they come.

        ``within_s`` bounds each silence. Raises ``NoAnswer``, and ``BackendError`` with the proxy's
        words for any status but 200.
        """
        import httpx

        sent = {"content-type": "application/json", **headers}
        content = msgspec.json.encode(body)
        try:
            with self._client.stream(
                "POST", self.url + path, content=content, headers=sent, timeout=within_s
            ) as response:
                if response.status_code != 200:
                    said = _refusal(response.read()) or f"status {response.status_code}"
                    raise BackendError(f"the proxy at {self.url} refused {path}: {said}")
                yield response.iter_lines()
        except (httpx.TransportError, httpx.InvalidURL) as failure:
            raise NoAnswer(
                f"the proxy at {self._address} broke off: {_reason(failure)}", hint="llmctl serve"
            ) from failure

    def decode(self, answer: Answer, path: str, shape: Any, *, hint: str | None = None) -> Any:
        """Read an answer as ``shape``, which must have required fields.

        Raises ``BackendError``: with the proxy's own words where it refused, and ``hint``, or
        because what answers there is not llmctl.
        """
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except msgspec.MsgspecError as failure:
            if refusal := _refusal(answer.body):
                text = f"the proxy at {self.url} answered {path} with {answer.status}: {refusal}"
                raise BackendError(text, hint=hint) from failure
            raise BackendError(
                f"what answers {path} at {self._address} is not llmctl: "
                f"status {answer.status}, {failure}",
                hint="llmctl serve, or give its address with --url",
            ) from failure


class _ModelRow(Struct):
    """The part of ``/v1/models/{id}`` that is needed here."""

    id: str
    engine_model: str = ""
    max_input_tokens: int | None = None


def ask_what_is_served(proxy: RunningProxy) -> Served:
    """Ask which models answer for the client's own names, and in which window.

    Raises ``BackendError`` where nothing answers or no engine offers a model, ``AuthError`` where
    the token is refused.
    """
    rows = {}
    for family, name in CLIENT_FAMILIES.items():
        path = f"/v1/models/{name}"
        rows[family] = proxy.decode(proxy.get(path), path, _ModelRow, hint="llmctl health")
    return Served(
        url=proxy.url,
        models={family: row.engine_model or row.id for family, row in rows.items()},
        context_tokens=rows["SONNET"].max_input_tokens or DEFAULT_CONTEXT,
    )


def _is_anthropic(url: str) -> bool:
    host = addresses.host_of(url)
    return host == "anthropic.com" or host.endswith(".anthropic.com")


def _reason(failure: Exception) -> str:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return str(failure) or type(failure).__name__


class _ErrorDetail(Struct):
    message: str


class _ErrorBody(Struct):
    error: _ErrorDetail


def _refusal(body: bytes) -> str:
    """Return the message of an error in Anthropic's shape, empty where the body is none."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error.message
    except msgspec.MsgspecError:
        return ""
