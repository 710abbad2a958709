"""The HTTP client of `difylog serve`: one pooled client per process, a deadline per answer, a breaker.

Answers are data from another machine: they are bounded in size and time, parsed as JSON, and checked by
`difylog_dify.records` before anything is made of them. Nothing here logs a path with ids of records, a parameter, a key
or an answer. Requests go through httpx's transport alone: no redirect is followed, no cookie kept, no proxy of the
environment used, and no URL with what a user typed gets into a log.
"""

import json
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx
from werkzeug.exceptions import ServiceUnavailable

from difylog_dify.settings import Settings, current

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 10.0
# An export has many records: the bounds of an answer, so many times.
EXPORT_BYTES, EXPORT_SECONDS = 16, 6
# The media type of every problem that difylog tells. What is between may answer 404, too, but not with this.
PROBLEM = "application/problem+json"
_ADDRESS = "check DIFYLOG_API_URL, and what lies on the way"
_CODE = re.compile(r"[a-z_]{1,40}")


class DifylogUnavailable(ServiceUnavailable):
    """difylog did not answer, or not as it should. Dify answers 503 if nothing falls back."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"difylog cannot be asked for logs: {reason}")
        self.reason = reason


class WrongAnswer(DifylogUnavailable):
    """difylog answered something that it must not: another tenant's record, another type, too much."""


class Forbidden(DifylogUnavailable):
    """The key does not reach this (401, 403)."""


class Refused(ValueError):
    """difylog refuses a parameter (400). Dify turns a ValueError into its own `invalid_param`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"difylog refuses the request: {code}")
        self.code = code


class Breaker:
    """Counts failures in a row; opens, and lets one request through after a while. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def enter(self) -> None:
        """Raises DifylogUnavailable while open."""
        with self._lock:
            now = time.monotonic()
            if self._failures >= FAILURES_TO_OPEN:
                if now < self._open_until:
                    raise DifylogUnavailable("it failed several times in a row and is left alone for some seconds")
                # This request is the probe; others wait for its outcome.
                self._open_until = now + OPEN_SECONDS

    def succeeded(self) -> None:
        """Closes it."""
        with self._lock:
            was_open, self._failures = self._failures >= FAILURES_TO_OPEN, 0
        if was_open:
            logger.warning("difylog answers again")

    def failed(self, reason: str) -> None:
        """Counts a failure."""
        with self._lock:
            self._failures += 1
            opened = self._failures == FAILURES_TO_OPEN
            if self._failures >= FAILURES_TO_OPEN:
                self._open_until = time.monotonic() + OPEN_SECONDS
        if opened:
            logger.warning("difylog is left alone for %d seconds after failures in a row: %s", OPEN_SECONDS, reason)

    @property
    def open(self) -> bool:
        """Whether requests are refused right now."""
        with self._lock:
            return self._failures >= FAILURES_TO_OPEN and time.monotonic() < self._open_until


class Client:
    """Asks difylog. Thread-safe; belongs to one process."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.breaker = Breaker()
        self._settings = settings
        limits = httpx.Limits(
            max_connections=settings.api_connections, max_keepalive_connections=settings.api_connections
        )
        self._transport = httpx.HTTPTransport(verify=_tls(settings), limits=limits, trust_env=False, retries=1)

    def get(self, path: str, params: Mapping[str, str | int | None] | None = None) -> Any | None:
        """Returns the JSON of an answer, or None for 404.

        Raises Refused for 400, DifylogUnavailable for anything else that is no answer.
        """
        return self._json("GET", path, params)

    def post(self, path: str, body: Mapping[str, Any]) -> Any | None:
        """Posts JSON; returns and raises as `get`."""
        return self._json("POST", path, None, json.dumps(body).encode())

    def delete(self, path: str) -> Any | None:
        """Deletes; returns and raises as `get`."""
        return self._json("DELETE", path, None)

    def _json(self, method: str, path: str, params: Mapping[str, str | int | None] | None, body: bytes = b"") -> Any:
        chunks = list(self._chunks(method, path, params, body))
        if not chunks:
            return None
        try:
            return json.loads(b"".join(chunks))
        except (ValueError, RecursionError):
            raise WrongAnswer("its answer is no JSON") from None

    def lines(self, path: str, params: Mapping[str, str | int | None]) -> Iterator[Any]:
        """Yields the JSON of each line of an export; raises as `get`, also in the middle. 404 raises, too."""
        begun: list[bytes] = []
        for chunk in self._chunks("GET", path, params, b"", is_export=True):
            first, *others = chunk.split(b"\n")
            begun.append(first)
            for piece in others:
                yield from _parsed_line(b"".join(begun))
                begun = [piece]
        yield from _parsed_line(b"".join(begun))

    def _chunks(
        self, method: str, path: str, params: Mapping[str, str | int | None] | None, body: bytes,
        *, is_export: bool = False,
    ) -> Iterator[bytes]:  # fmt: skip
        """Yields the body of a 200; nothing for a 404, which of an export is an error."""
        self.breaker.enter()
        until = time.monotonic() + self._settings.api_timeout * (EXPORT_SECONDS if is_export else 1)
        bound = self._settings.api_bytes * (EXPORT_BYTES if is_export else 1)
        try:
            response = self._transport.handle_request(self._request(method, path, params, body))
        except (httpx.HTTPError, OSError, ssl.SSLError) as error:
            raise self._failed(f"{type(error).__name__}") from None
        try:
            if response.status_code == 404:
                if response.headers.get("content-type") != PROBLEM:
                    raise self._failed(f"it is not difylog that answers (status 404); {_ADDRESS}")
                self.breaker.succeeded()
                if is_export:
                    raise DifylogUnavailable("it does not know the tenant")
                return
            if response.status_code != 200:
                raise self._problem(response)
            size = 0
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > bound:
                    self.breaker.succeeded()
                    raise WrongAnswer("its answer is larger than DIFYLOG_API_BYTES")
                if time.monotonic() > until:
                    raise self._failed("its answer takes longer than DIFYLOG_API_TIMEOUT_SECONDS")
                yield chunk
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self._failed(type(error).__name__) from None
        finally:
            response.close()
        self.breaker.succeeded()

    def _request(
        self, method: str, path: str, params: Mapping[str, str | int | None] | None, body: bytes
    ) -> httpx.Request:
        given = {name: str(value) for name, value in (params or {}).items() if value is not None}
        url = f"{self._settings.api_url}{path}{'?' if given else ''}{urlencode(given)}"
        timeout = httpx.Timeout(self._settings.api_timeout).as_dict()
        headers = {
            "authorization": f"Bearer {self._settings.api_key}",
            "accept": "application/json, application/x-ndjson",
            # A compressed answer has no bound in memory.
            "accept-encoding": "identity",
            "user-agent": "difylog-dify",
        }
        if body:
            headers["content-type"] = "application/json"
        return httpx.Request(method, url, headers=headers, content=body, extensions={"timeout": timeout})

    def _problem(self, response: httpx.Response) -> Exception:
        code = ""
        try:
            problem = json.loads(b"".join(_at_most(response, 1 << 16)))
            code = problem.get("code", "")
        except (ValueError, AttributeError, httpx.HTTPError):
            pass
        code = code if isinstance(code, str) and _CODE.fullmatch(code) else f"status {response.status_code}"
        if 300 <= response.status_code < 400:
            return self._failed("it redirects; DIFYLOG_API_URL must be its own address")
        if response.status_code < 500 and response.headers.get("content-type") != PROBLEM:
            return self._failed(f"it is not difylog that answers (status {response.status_code}); {_ADDRESS}")
        if response.status_code == 400:
            self.breaker.succeeded()
            return Refused(code)
        if response.status_code in (401, 403):
            # It is well, but the key is not: the breaker would only hide that.
            self.breaker.succeeded()
            return Forbidden(f"{code}: check DIFYLOG_API_KEY, its tenants and its rights")
        return self._failed(code)

    def _failed(self, reason: str) -> DifylogUnavailable:
        self.breaker.failed(reason)
        return DifylogUnavailable(reason)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()


def _at_most(response: httpx.Response, size: int) -> Iterator[bytes]:
    for chunk in response.iter_raw():
        size -= len(chunk)
        if size < 0:
            return
        yield chunk


def _parsed_line(line: bytes) -> Iterator[Any]:
    if not line.strip():
        return
    try:
        yield json.loads(line)
    except (ValueError, RecursionError):
        raise WrongAnswer("a line of its answer is no JSON") from None


def _tls(settings: Settings) -> ssl.SSLContext | bool:
    if not settings.api_url.startswith("https:"):
        return False
    if not settings.api_verify:
        return False
    return ssl.create_default_context(cafile=settings.api_ca_file or None)


_client: Client | None = None
_making = threading.Lock()
# Clients of the parent process: their sockets belong to it.
_inherited: list[Client] = []


def client() -> Client:
    """Returns this process's client, made when it is first needed and again after a fork."""
    global _client
    found = _client
    if found is None or found.pid != os.getpid():
        with _making:
            if _client is None or _client.pid != os.getpid():
                _client = Client(current())
            found = _client
    return found


def replace(new: Client | None) -> None:
    """Sets this process's client; None makes a new one when it is next needed."""
    global _client
    _client = new


def _after_fork_in_child() -> None:
    global _client, _making
    if _client is not None:
        _inherited.append(_client)
    _client = None
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
