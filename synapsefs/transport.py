"""HTTP requests: retries, credentials, and errors in this package's own words."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import tenacity
from yarl import URL

from synapsefs import concurrency
from synapsefs.config import NetworkOptions
from synapsefs.errors import (
    IdleTimeoutError,
    IntegrityError,
    SynapseError,
    UnreachableError,
    from_status,
    service_words,
)
from synapsefs.sessions import SLICE, SessionPool

logger = logging.getLogger("synapsefs")
T = TypeVar("T")

JOINED = 2**17
"""Bytes of a body up to which copying it costs less than sending it apart from its head."""

LARGEST_ANSWER = 2**28
"""Bytes of an answer of a service; a page of a listing has a hundredth."""

PATIENCE = 10
"""How many times ``read_timeout`` an answer of a service may take from its head to its end."""

LONGEST_RETRY_AFTER = 60.0
LONGEST_BACKOFF = 20.0
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
        What else is said of it.
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
    whole = b"".join(pieces) if size <= JOINED else None

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

    def __init__(self, options: NetworkOptions) -> None:
        self.options = options
        self.names: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self._sessions = SessionPool(options)

    async def aclose(self) -> None:
        """Close the running loop's sessions."""
        await self._sessions.aclose()

    async def api(
        self,
        method: str,
        url: str,
        *,
        auth: Auth,
        about: str | None,
        replay: bool,
        params: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request to a service and read its answer whole.

        Parameters
        ----------
        method, url, params, body, headers
            The request.
        auth
            Credentials; renewed and tried once more when they are refused.
        about
            Path that an error names.
        replay
            Whether doing it twice is as good as once. If not, a failure after which the service
            may or may not have acted is raised at once, with ``outcome_unknown`` set.

        Raises
        ------
        SynapseError
            As the table in :mod:`synapsefs.errors` says.
        """

        async def attempt() -> Reply:
            proof = await auth.headers()
            sent = {**proof, **(headers or {})}
            reply = await self._exchange(method, url, params, body, sent, about, replay)
            if reply.status in {401, 403} and await auth.renew(proof, reply.status):
                sent = {**await auth.headers(), **(headers or {})}
                reply = await self._exchange(method, url, params, body, sent, about, replay)
            return _checked(reply, about, replay, self.origin(url), auth.missing)

        return await self.retrying(attempt, replay=replay)

    def origin(self, url: str) -> str:
        """Give the scheme and host of a URL, or what the endpoint there is called."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return self.names.get(origin, origin)

    async def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        body: bytes | Body | None,
        headers: Mapping[str, str],
        about: str | None,
        replay: bool,
    ) -> Reply:
        session = self._sessions.get().api
        data, extra = _payload(body)
        self.counts["requests"] += 1
        async with (
            translated(about, replay),
            concurrency.shared().connections,
            session.request(
                method,
                _parsed(url, about),
                params=params,
                data=data,
                headers={**headers, **extra},
                allow_redirects=False,
            ) as response,
        ):
            received = await self._read(response, about)
        self.counts["bytes_sent"] += _size(body)
        self.counts["bytes_received"] += len(received)
        if response.status in REDIRECTS:
            raise from_status(
                response.status, "the service redirects: check the endpoint's URL", about
            )
        return Reply(response.status, response.headers, received)

    @asynccontextmanager
    async def get_object(
        self, url: str, headers: Mapping[str, str], about: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a signed URL for reading; no credential is sent, redirects are followed as signed.

        The caller reads the body and judges the status.
        """
        target = _parsed(url, about)
        session = self._sessions.get().objects
        async with translated(about, replay=True), concurrency.shared().readings:
            for _ in range(MAX_REDIRECTS):
                self.counts["requests"] += 1
                async with session.get(target, headers=headers, allow_redirects=False) as response:
                    if response.status not in REDIRECTS or "Location" not in response.headers:
                        yield response
                        return
                    target = target.join(_parsed(response.headers["Location"], about))
            raise from_status(508, "too many redirects", about)

    async def put_object(
        self, url: str, body: bytes | Body, headers: Mapping[str, str], about: str | None
    ) -> Reply:
        """Send bytes to a signed URL, again when that failed; no credential is sent."""

        async def attempt() -> Reply:
            data, extra = _payload(body)
            session = self._sessions.get().objects
            self.counts["requests"] += 1
            async with (
                translated(about, replay=True),
                concurrency.shared().connections,
                session.put(
                    _parsed(url, about),
                    data=data,
                    headers={**headers, **extra},
                    allow_redirects=False,
                ) as response,
            ):
                received = await self._read(response, about)
            self.counts["bytes_sent"] += _size(body)
            reply = Reply(response.status, response.headers, received)
            if reply.status in REDIRECTS:
                raise from_status(reply.status, "the storage redirects an upload", about)
            return _checked(reply, about, True, self.origin(url))

        return await self.retrying(attempt, replay=True)

    async def _read(self, response: aiohttp.ClientResponse, about: str | None) -> bytes:
        """Read an answer whole, which is neither endless nor drips for ever."""
        pieces: list[bytes] = []
        left = LARGEST_ANSWER
        async with asyncio.timeout(PATIENCE * self.options.read_timeout):
            async for piece in response.content.iter_any():
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    words = f"the service's answer is larger than {LARGEST_ANSWER} bytes"
                    raise IntegrityError(words, about)
        return b"".join(pieces)

    async def retrying(self, attempt: Callable[[], Awaitable[T]], *, replay: bool) -> T:
        """Run ``attempt`` until it succeeds, fails for good, or the retries are used up.

        Waits grow exponentially with jitter; a ``Retry-After`` is obeyed, up to a minute.
        """
        return await self._repeated(attempt, lambda error: worth_retrying(error, replay=replay))

    async def once(
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
                found = await look()
                if found is not None:
                    return found
            try:
                return await act()
            except SynapseError as error:
                lost = outcome_unknown(error) or isinstance(error, IntegrityError)
                raise

        return await self._repeated(attempt, lambda error: lost and isinstance(error, SynapseError))

    async def _repeated(
        self, attempt: Callable[[], Awaitable[T]], again: Callable[[BaseException], bool]
    ) -> T:
        """Try once, which nearly always does, and prepare for more only then."""
        try:
            return await attempt()
        except Exception as error:
            if not again(error):
                raise
            failed = [error]

        async def following() -> T:
            if failed:
                raise failed.pop()
            return await attempt()

        retry = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.options.retries + 1),
            wait=_wait,
            retry=tenacity.retry_if_exception(again),
            before_sleep=self._note_retry,
            reraise=True,
        )
        return await retry(following)

    def _note_retry(self, state: tenacity.RetryCallState) -> None:
        self.counts["retries"] += 1
        error = state.outcome.exception() if state.outcome else None
        logger.info("trying again after: %s", error)


def worth_retrying(error: BaseException, *, replay: bool) -> bool:
    """Say whether another attempt may succeed and can do no harm."""
    if not isinstance(error, SynapseError):
        return False
    if error.status in REFUSED_UNTRIED:
        return True
    if error.status in MAYBE_DONE or isinstance(error, UnreachableError):
        return replay or not outcome_unknown(error)
    return False


def outcome_unknown(error: BaseException) -> bool:
    """Say whether the service may have done what was asked although the answer never came."""
    return bool(getattr(error, "outcome_unknown", False))


@asynccontextmanager
async def translated(about: str | None, replay: bool) -> AsyncIterator[None]:
    """Turn what aiohttp raises into the errors of this package."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        reason = error.os_error.strerror or type(error.os_error).__name__
        message = f"no connection to {error.host}:{error.port}: {reason}"
        raise UnreachableError(message, about, error.os_error.errno) from None
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        if isinstance(error, SynapseError):
            raise
        raise _unknown(
            IdleTimeoutError("nothing moved before the timeout", about), replay
        ) from None
    except (aiohttp.ClientError, ConnectionError) as error:
        if isinstance(error, SynapseError):
            raise
        code = getattr(error, "errno", None)
        words = f"the connection broke: {type(error).__name__}"
        raise _unknown(UnreachableError(words, about, code), replay) from None


def _unknown(error: SynapseError, replay: bool) -> SynapseError:
    error.outcome_unknown = not replay  # type: ignore[attr-defined]
    return error


def _checked(
    reply: Reply, about: str | None, replay: bool, origin: str, missing: str = ""
) -> Reply:
    if reply.status < 400:
        return reply
    words = service_words(reply.body)
    if missing and reply.status in {401, 403}:
        words = f"no {missing} was given: {words}"
    error = from_status(reply.status, words, about, origin)
    error.body = reply.body  # type: ignore[attr-defined]
    error.retry_after = _retry_after(reply.headers)  # type: ignore[attr-defined]
    raise _unknown(error, replay) if reply.status in MAYBE_DONE else error


def _retry_after(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "").strip()[:64]
    if value.isdecimal():
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), LONGEST_RETRY_AFTER)


_backoff = tenacity.wait_random_exponential(multiplier=FIRST_BACKOFF, max=LONGEST_BACKOFF)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(getattr(error, "retry_after", 0.0), _backoff(state))


def _parsed(url: str, about: str | None) -> URL:
    """Read a URL, which another party wrote and which is not to be changed."""
    try:
        return URL(url, encoded=True)
    except ValueError:
        raise IntegrityError("the service gives something that is no URL", about) from None


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
