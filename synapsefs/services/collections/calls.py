"""Talking to the collections service: credentials, pages, and where a route lies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import BaseModel, TypeAdapter

from synapsefs import limits
from synapsefs.config import Endpoint
from synapsefs.errors import IntegrityError, NotFoundError
from synapsefs.services.wireio import parsed
from synapsefs.transport import Body, Reply, Transport
from synapsefs.wire import collections as wire

PAGES_AT_A_TIME = 8
PER_PAGE = 200
STALE_PAGES = 3
JSON_HEADERS = {"Content-Type": "application/json"}


class AccessToken:
    """Credentials of the collections service: they do not expire, so they are never renewed."""

    def __init__(self, endpoint: Endpoint, *, second_generation: bool) -> None:
        prefix = "" if second_generation else "Token "
        self.missing = "" if endpoint.secret else "token"
        self._headers: dict[str, str] = {}
        if endpoint.secret:
            self._headers[wire.ACCESS_TOKEN_HEADER] = prefix + endpoint.secret
        if endpoint.tenant:
            self._headers[wire.TENANT_HEADER] = prefix + endpoint.tenant

    async def headers(self) -> Mapping[str, str]:
        """Give the token, in the form of the generation asked."""
        return self._headers

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:  # noqa: ARG002
        """Say no: there is only this token."""
        return False


class Caller:
    """Sends requests to one collections service and follows its pages.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        Base URL and token.
    """

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._base = endpoint.url
        self.once = transport.once
        self._v1 = AccessToken(endpoint, second_generation=False)
        self._v2 = AccessToken(endpoint, second_generation=True)

    async def _pages(
        self, route: str, params: dict[str, str], adapter: TypeAdapter[Any], about: str
    ) -> AsyncIterator[Any]:
        page = parsed(adapter, await self._get(route, about, params), about)
        yield page
        repeats = Repeats(about)
        repeats.check(page.results)
        query = query_of(page.next)
        if query.get("page") == "2" and page.count is not None and page.results:
            numbers = range(2, -(-page.count // len(page.results)) + 1)
            async for page in self._numbered(route, query, numbers, adapter, about):
                repeats.check(page.results)
                yield page
            query = query_of(page.next)
        while query:
            page = parsed(adapter, await self._get(route, about, query), about)
            repeats.check(page.results)
            yield page
            query = query_of(page.next)

    async def _numbered(
        self,
        route: str,
        query: dict[str, str],
        numbers: range,
        adapter: TypeAdapter[Any],
        about: str,
    ) -> AsyncIterator[Any]:
        async def fetch(number: int) -> Any:
            try:
                reply = await self._get(route, about, {**query, "page": str(number)})
            except NotFoundError:
                return wire.Page[Any]()
            return parsed(adapter, reply, about)

        for start in range(0, len(numbers), PAGES_AT_A_TIME):
            batch = numbers[start : start + PAGES_AT_A_TIME]
            for page in await limits.gather(map(fetch, batch), PAGES_AT_A_TIME):
                yield page
                if not page.results:
                    return

    async def _cursor_pages(
        self, route: str, params: Mapping[str, str], adapter: TypeAdapter[Any], about: str
    ) -> AsyncIterator[Any]:
        """Go through a list of the second generation; gives what each page holds."""
        params = {**params, "per_page": str(PER_PAGE)}
        repeats = Repeats(about)
        while True:
            page = parsed(adapter, await self._get(route, about, params), about)
            yield page.data
            cursor = page.meta.pagination.next_cursor if page.meta.pagination else None
            if not cursor:
                return
            repeats.check(page.data)
            params = {**params, "cursor": _cursor_value(cursor)}

    async def _get(self, route: str, about: str | None, params: Mapping[str, str]) -> Reply:
        return await self._call("GET", route, about, None, params=params)

    async def _send(
        self, method: str, route: str, about: str, body: BaseModel | None = None, *, replay: bool
    ) -> Reply:
        content = body.model_dump_json(exclude_none=True).encode() if body else None
        return await self._call(
            method, route, about, content, replay=replay, headers=JSON_HEADERS if body else None
        )

    async def _call(
        self,
        method: str,
        route: str,
        about: str | None,
        body: bytes | Body | None,
        *,
        replay: bool = True,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        url = self._url(route)
        auth = self._v2 if "/v2/" in url[len(self._base) :] else self._v1
        return await self._transport.api(
            method,
            url,
            auth=auth,
            about=about,
            replay=replay,
            params=params,
            body=body,
            headers=headers,
        )

    def _url(self, route: str) -> str:
        """Make a URL on our own endpoint, even of an absolute one that a service handed out."""
        parts = urlsplit(route)
        path = quote(parts.path, safe="/%:@") if parts.netloc else parts.path
        base_path = urlsplit(self._base).path
        if parts.netloc and base_path and path.startswith(base_path + "/"):
            path = path[len(base_path) :]
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._base}/{path.lstrip('/')}{query}"


def query_of(url: str | None) -> dict[str, str]:
    """Read the parameters of a URL; empty for None."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) if url else {}


def _cursor_value(cursor: str) -> str:
    return query_of(cursor).get("cursor", cursor) if cursor.startswith("http") else cursor


class Repeats:
    """Notices a listing that never ends because it goes in circles.

    Parameters
    ----------
    about
        Path that the error names.
    """

    def __init__(self, about: str) -> None:
        self._about = about
        self._seen: set[int] = set()
        self._stale = 0

    def check(self, results: Sequence[Any]) -> None:
        """Look at the next page. One may repeat what an insertion meanwhile has moved there.

        Raises
        ------
        IntegrityError
            When several pages in a row hold nothing that was not on an earlier page.
        """
        fresh = {item.id for item in results} - self._seen
        self._seen |= fresh
        self._stale = 0 if fresh else self._stale + 1
        if self._stale >= STALE_PAGES:
            words = "the service's listing repeats itself without an end"
            raise IntegrityError(words, self._about)
