"""Talking to the collections service: credentials, pages, and where a route lies."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import BaseModel, TypeAdapter

from synapsefs import concurrency
from synapsefs.config import Endpoint
from synapsefs.errors import NotFoundError
from synapsefs.http import Body, Reply, Transport
from synapsefs.services.collections.pages import SMALLEST_OVERLAPPING, LoopGuard, overlapping
from synapsefs.services.wireio import parsed
from synapsefs.wire.collections import constants, v1

PAGES_AT_A_TIME = 8
PER_PAGE = 200
JSON_HEADERS = {"Content-Type": "application/json"}


class AccessToken:
    """Credentials of the collections service: they do not expire, so they are never renewed."""

    def __init__(self, endpoint: Endpoint, *, second_generation: bool) -> None:
        prefix = "" if second_generation else "Token "
        self.missing = "" if endpoint.secret else "token"
        self._headers: dict[str, str] = {}
        if endpoint.secret:
            self._headers[constants.ACCESS_TOKEN_HEADER] = prefix + endpoint.secret
        if endpoint.tenant:
            self._headers[constants.TENANT_HEADER] = prefix + endpoint.tenant

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
        self.once = transport.send_once
        self._takes_size = True
        self._v1 = AccessToken(endpoint, second_generation=False)
        self._v2 = AccessToken(endpoint, second_generation=True)

    async def _pages(
        self, route: str, params: dict[str, str], adapter: TypeAdapter[Any], about: str
    ) -> AsyncIterator[Any]:
        """Go through numbered pages; what changes meanwhile may be on two of them."""
        page = parsed(adapter, await self._get(route, about, params), about)
        yield page
        repeats = LoopGuard(about)
        repeats.check(page.results)
        query = query_of(page.next)
        if query.get("page") == "2" and page.count is not None and page.results:
            size, count = len(page.results), page.count
            if self._takes_size and "page_size" in query and size >= SMALLEST_OVERLAPPING:
                sizes = overlapping(size, count)
            else:
                sizes = ((number, 0) for number in range(2, -(-count // size) + 1))
            async for page in self._numbered(route, query, sizes, adapter, about):
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
        sizes: Iterator[tuple[int, int]],
        adapter: TypeAdapter[Any],
        about: str,
    ) -> AsyncIterator[Any]:
        """Get pages by number and size, 0 for the size that the query has; several at a time."""

        async def fetch(number: int, size: int) -> Any:
            asked = {**query, "page": str(number)} | ({"page_size": str(size)} if size else {})
            try:
                reply = await self._get(route, about, asked)
            except NotFoundError:
                return v1.Page[Any]()
            return parsed(adapter, reply, about)

        while batch := list(itertools.islice(sizes, PAGES_AT_A_TIME)):
            work = (fetch(number, size) for number, size in batch)
            pages = await concurrency.gather(work, PAGES_AT_A_TIME)
            for (_, size), page in zip(batch, pages, strict=True):
                if size and page.next and len(page.results) != size:
                    self._takes_size = False
                    yield v1.Page[Any](next=f"?{urlencode({**query, 'page': '2'})}")
                    return
                yield page
                if not page.results:
                    return

    async def _cursor_pages(
        self, route: str, params: Mapping[str, str], adapter: TypeAdapter[Any], about: str
    ) -> AsyncIterator[Any]:
        """Go through a list of the second generation; gives what each page holds."""
        params = {**params, "per_page": str(PER_PAGE)}
        repeats = LoopGuard(about)
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
        return await self._transport.send(
            method,
            url,
            auth=auth,
            path=about,
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
