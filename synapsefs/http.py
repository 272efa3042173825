"""HTTP requests: retries, credentials, and errors in this package's own words."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from synapsefs.errors import (
    IdleTimeoutError,
    IntegrityError,
    SynapseError,
    UnreachableError,
    from_status,
    service_words,
)
from synapsefs.options import Options
from synapsefs.sessions import SLICE, SessionPool

logger = logging.getLogger("synapsefs")
T = TypeVar("T")

MAX_JOINED = 2**17
"""Bytes of a body up to which copying it costs less than sending it apart from its head."""

MAX_REPLY = 2**28
"""Bytes of a service's reply; a page of a listing has a hundredth."""

REPLY_TIMEOUTS = 10
"""How many times ``read_timeout`` a service's reply may take from its head to its end."""

MAX_RETRY_AFTER = 60.0
MAX_BACKOFF = 20.0
FIRST_BACKOFF = 0.2
MAX_REDIRECTS = 5
REFUSED_UNTRIED = frozenset({408, 425, 429})
MAYBE_DONE = frozenset({500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Body:
    """A request body that can be sent again.

    Attributes
    ----------
    size
        Bytes in all, sent as ``Content-Length``.
    chunks
        Starts the body from its beginning.
    headers
        Headers that describe it.
    whole
        All of a small body, which then travels in one piece with the request's head.
    """

    size: int
    chunks: Callable[[], AsyncIterator[bytes | memoryview]]
    headers: Mapping[str, str] = field(default_factory=dict)
    whole: bytes | None = None


def body_of(*pieces: bytes | memoryview, headers: Mapping[str, str] | None = None) -> Body:
    """Make a body of pieces in memory, sent in slices and joined only where they are small."""
    size = sum(len(piece) for piece in pieces)
    whole = b"".join(pieces) if size <= MAX_JOINED else None

    async def chunks() -> AsyncIterator[bytes | memoryview]:
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), SLICE):
                yield view[start : start + SLICE]

    return Body(size, chunks, headers or {}, whole)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer in memory."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Auth(Protocol):
    """How requests to one service prove who asks."""

    async def headers(self) -> Mapping[str, str]:
        """Give the headers for the next request."""

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:
        """Say whether credentials other than the ``refused`` ones are worth another try."""

    @property
    def missing(self) -> str:
        """The option that would hold the credential, where none was given."""


class Transport:
    """Sessions and retries of one filesystem instance.

    Parameters
    ----------
    options
        Timeouts, retries and limits.

    Attributes
    ----------
    names
        What errors call an endpoint, by its URL, where that is not the URL.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.names: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self._sessions = SessionPool(options)

    async def aclose(self) -> None:
        """Close the running loop's sessions."""
        await self._sessions.aclose()

    async def send(
        self,
        method: str,
        url: str,
        *,
        auth: Auth,
        path: str | None,
        replay: bool,
        params: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request to a service and read its reply whole.

        Parameters
        ----------
        method, url, params, body, headers
            The request.
        auth
            Credentials; renewed and tried once more when they are refused.
        path
            Path that an error names.
        replay
            Whether doing it twice is as good as once. If not, a failure after which the service
            may or may not have acted is raised at once, with ``outcome_unknown`` set.

        Raises
        ------
        SynapseError
            As the table in :mod:`synapsefs.errors` says.
        """

        async def exchange(proof: Mapping[str, str]) -> Reply:
            session = self._sessions.get().api
            sent = {**proof, **(headers or {})}
            return await self._exchange(session, method, url, body, sent, path, replay, params)

        async def attempt() -> Reply:
            proof = await auth.headers()
            reply = await exchange(proof)
            if reply.status in {401, 403} and await auth.renew(proof, reply.status):
                reply = await exchange(await auth.headers())
            return self._checked(reply, url, path, replay, auth.missing)

        return await self._retry(attempt, lambda error: worth_retrying(error, replay=replay))

    async def put_object(
        self, url: str, body: bytes | Body, headers: Mapping[str, str], path: str | None
    ) -> Reply:
        """Send bytes to a signed URL, again when that failed; no credential is sent."""

        async def attempt() -> Reply:
            session = self._sessions.get().writing
            reply = await self._exchange(session, "PUT", url, body, headers, path, replay=True)
            return self._checked(reply, url, path, replay=True)

        return await self._retry(attempt, lambda error: worth_retrying(error, replay=True))

    async def send_once(
        self, act: Callable[[], Awaitable[T]], look: Callable[[], Awaitable[T | None]]
    ) -> T:
        """Do what must not be done twice.

        Parameters
        ----------
        act
            Does it, with ``replay=False``.
        look
            Says what came of it, None where nothing did. It is asked when the answer was lost or
            unreadable; only where nothing came of it, it is done again.

        Raises
        ------
        SynapseError
            What ``act`` or ``look`` raised last.
        """
        lost = False

        async def attempt() -> T:
            nonlocal lost
            if lost:
                lost = False
                outcome = await look()
                if outcome is not None:
                    return outcome
            try:
                return await act()
            except SynapseError as error:
                lost = error.outcome_unknown or isinstance(error, IntegrityError)
                raise

        return await self._retry(attempt, lambda _: lost)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], path: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a signed URL for reading; no credential is sent, redirects are followed as signed.

        The caller reads the body and judges the status. Nothing is tried again.
        """
        target = _parsed(url, path)
        session = self._sessions.get().reading
        with translated(path, replay=True):
            for _ in range(MAX_REDIRECTS):
                self.counts["requests"] += 1
                async with session.get(target, headers=headers, allow_redirects=False) as response:
                    if response.status not in REDIRECTS or "Location" not in response.headers:
                        yield response
                        return
                    target = target.join(_parsed(response.headers["Location"], path))
        raise from_status(508, "too many redirects", path)

    def origin(self, url: str) -> str:
        """Give the scheme and host of a URL, or what the endpoint there is called."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return self.names.get(origin, origin)

    def backoff(self) -> Iterator[float]:
        """Give the seconds to wait before each retry: exponential, with jitter."""
        for number in range(self.options.retries):
            yield random.uniform(0, min(FIRST_BACKOFF * 2**number, MAX_BACKOFF))  # noqa: S311 - no secret

    async def wait(self, delays: Iterator[float], error: SynapseError) -> None:
        """Wait before a retry, as long as ``Retry-After`` asks; raise when none is left."""
        delay = next(delays, None)
        if delay is None:
            raise error
        self.counts["retries"] += 1
        logger.info("trying again after: %s", error)
        await asyncio.sleep(max(delay, error.retry_after))

    async def _retry(
        self, attempt: Callable[[], Awaitable[T]], again: Callable[[SynapseError], bool]
    ) -> T:
        """Run ``attempt`` until it succeeds, fails for good, or the retries are used up."""
        delays: Iterator[float] | None = None
        while True:
            try:
                return await attempt()
            except SynapseError as error:
                if not again(error):
                    raise
                delays = delays or self.backoff()
                await self.wait(delays, error)

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        body: bytes | Body | None,
        headers: Mapping[str, str],
        path: str | None,
        replay: bool,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        data, described = _payload(body)
        self.counts["requests"] += 1
        with translated(path, replay):
            async with session.request(
                method,
                _parsed(url, path),
                params=params,
                data=data,
                headers={**headers, **described},
                allow_redirects=False,
            ) as response:
                received = await self._read(response, path)
        self.counts["bytes_sent"] += _size(body)
        self.counts["bytes_received"] += len(received)
        if response.status in REDIRECTS:
            words = "the request is redirected: check the endpoint's URL"
            raise from_status(response.status, words, path)
        return Reply(response.status, response.headers, received)

    def _checked(
        self, reply: Reply, url: str, path: str | None, replay: bool, missing: str = ""
    ) -> Reply:
        """Give a reply back, or raise the error that its status means."""
        if reply.status < 400:
            return reply
        words = service_words(reply.body)
        if missing and reply.status in {401, 403}:
            words = f"no {missing} was given: {words}"
        error = from_status(reply.status, words, path, self.origin(url))
        error.body = reply.body
        error.retry_after = _retry_after(reply.headers)
        error.outcome_unknown = reply.status in MAYBE_DONE and not replay
        raise error

    async def _read(self, response: aiohttp.ClientResponse, path: str | None) -> bytes:
        """Read a reply whole, which is neither endless nor drips for ever."""
        pieces: list[bytes] = []
        left = MAX_REPLY
        async with asyncio.timeout(REPLY_TIMEOUTS * self.options.read_timeout):
            async for piece in response.content.iter_any():
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    words = f"the service's answer is larger than {MAX_REPLY} bytes"
                    raise IntegrityError(words, path)
        return b"".join(pieces)


def worth_retrying(error: BaseException, *, replay: bool) -> bool:
    """Say whether another attempt may succeed and can do no harm."""
    if not isinstance(error, SynapseError):
        return False
    if error.status in REFUSED_UNTRIED:
        return True
    if error.status in MAYBE_DONE or isinstance(error, UnreachableError):
        return replay or not error.outcome_unknown
    return False


@contextmanager
def translated(path: str | None, replay: bool) -> Iterator[None]:
    """Turn what aiohttp raises into the errors of this package."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or type(error.os_error).__name__
        message = f"no connection to {error.host}:{error.port}: {reason}"
        raise UnreachableError(message, path, error.os_error.errno) from None
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        if isinstance(error, SynapseError):
            raise
        lost = IdleTimeoutError("nothing moved before the timeout", path)
        lost.outcome_unknown = not replay
        raise lost from None
    except (aiohttp.ClientError, ConnectionError) as error:
        if isinstance(error, SynapseError):
            raise
        words = f"the connection broke: {type(error).__name__}"
        broken = UnreachableError(words, path, getattr(error, "errno", None))
        broken.outcome_unknown = not replay
        raise broken from None


def _retry_after(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "").strip()[:64]
    if value.isdecimal():
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), MAX_RETRY_AFTER)


def _parsed(url: str, path: str | None) -> URL:
    """Read a URL, which another party wrote and which is not to be changed."""
    try:
        return URL(url, encoded=True)
    except ValueError:
        raise IntegrityError("the service gives something that is no URL", path) from None


def _payload(body: bytes | Body | None) -> tuple[Any, dict[str, str]]:
    if isinstance(body, bytes) and len(body) >= SLICE:
        body = body_of(body)
    if isinstance(body, Body):
        if body.whole is not None:
            return body.whole, dict(body.headers)
        return body.chunks(), {**body.headers, "Content-Length": str(body.size)}
    return body, {}


def _size(body: bytes | Body | None) -> int:
    return body.size if isinstance(body, Body) else len(body or b"")
