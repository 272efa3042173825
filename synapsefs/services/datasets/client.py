"""The datasets service's routes, one method each, and its expiring bearer tokens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from synapsefs.concurrency import Locks
from synapsefs.config import Endpoint
from synapsefs.errors import IntegrityError
from synapsefs.http import Reply, Transport
from synapsefs.services.wireio import parsed
from synapsefs.wire.datasets import answers, constants, requests

T = TypeVar("T")
ANNOUNCEMENT = "X-Synapsefs-Server"
YOUNG_SECONDS = 60.0
LARGE = 2**18
"""Bytes from which on a listing is parsed in a thread."""

_LOGIN = TypeAdapter(answers.LoginAnswer)
_DATASET = TypeAdapter(answers.DatasetWithEntries)
_CREATED = TypeAdapter(answers.DatasetCreated)
_LISTING = TypeAdapter(answers.DatasetListing)
_RESPONSE = TypeAdapter(answers.EntryResponse)
_REVISIONS = TypeAdapter(answers.RevisionList)
_INITIATED = TypeAdapter(answers.UploadInitiated)
_HITS = TypeAdapter(list[answers.SearchHit])


@dataclass(slots=True)
class _Session:
    token: str
    since: float
    announced: bool


_sessions: dict[tuple[str, str], _Session] = {}
"""Bearer tokens by endpoint and key digest: one login serves all instances of a process."""


class _NoAuth:
    def __init__(self, missing: str) -> None:
        self.missing = missing

    async def headers(self) -> Mapping[str, str]:
        return {}

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:  # noqa: ARG002
        return False


class BearerToken:
    """Credentials of the datasets service: an API key in exchange for tokens that expire."""

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._endpoint = endpoint
        own = endpoint.secret and not endpoint.assumed
        self.missing = "" if own else "datasets_token"
        digest = hashlib.sha256(endpoint.secret.encode()).hexdigest()
        self._key = (endpoint.url, digest)
        self._locks: Locks[str] = Locks()

    async def announced(self) -> bool:
        """Say whether the server is an embedded one, which lists datasets."""
        return (await self._session()).announced

    async def headers(self) -> Mapping[str, str]:
        """Give the current token; the first time, log in."""
        session = await self._session()
        return {"Authorization": f"Bearer {session.token}", constants.CLIENT_HEADER: "sdk"}

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:
        """Log in again, unless somebody did or a young token was refused for lack of rights."""
        session = await self._session()
        if refused.get("Authorization") != f"Bearer {session.token}":
            return True
        if status == 403 and time.monotonic() - session.since < YOUNG_SECONDS:
            return False
        async with self._locks.get("login"):
            if _sessions.get(self._key) is session:
                _sessions[self._key] = await self._login()
        return True

    async def _session(self) -> _Session:
        session = _sessions.get(self._key)
        if session is None:
            async with self._locks.get("login"):
                session = _sessions.get(self._key)
                if session is None:
                    session = _sessions[self._key] = await self._login()
        return session

    async def _login(self) -> _Session:
        body = requests.LoginRequest(api_key=self._endpoint.secret)
        reply = await self._transport.send(
            "POST",
            self._endpoint.url + constants.LOGIN_PATH,
            auth=_NoAuth(self.missing),
            path="datasets",
            replay=True,
            body=body.model_dump_json().encode(),
            headers=_JSON_HEADERS,
        )
        token = parsed(_LOGIN, reply, "datasets").access_token
        if not token.isascii() or not token.isprintable():
            raise IntegrityError("the service's login gives no bearer token", "datasets")
        return _Session(token, time.monotonic(), ANNOUNCEMENT in reply.headers)


_JSON_HEADERS = {"Content-Type": "application/json"}


class DatasetsClient:
    """Typed calls to one datasets service; each takes the path that errors name.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        Base URL and API key.
    """

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._base = endpoint.url
        self._auth = BearerToken(transport, endpoint)
        self.once = transport.send_once
        self.announced = self._auth.announced

    async def listing(self, name: str | None = None) -> list[answers.Dataset]:
        """List datasets, newest first; only where the server announces it."""
        params = {"name": name} if name is not None else None
        route = constants.LISTING_PATH
        return (await self._fetch(_LISTING, "GET", route, "datasets", params=params)).datasets

    async def dataset(self, identifier: str, path: str) -> answers.DatasetWithEntries:
        """Get a dataset with its entries of every depth."""
        reply = await self._call("GET", _dataset(identifier), path)
        if len(reply.body) < LARGE:
            return parsed(_DATASET, reply, path)
        return await asyncio.to_thread(parsed, _DATASET, reply, path)

    async def create_dataset(
        self, name: str, description: str | None, identifier: str, path: str
    ) -> answers.DatasetCreated:
        """Create a dataset under an id of our choice, so that a repeat shows as a conflict."""
        body = {"name": name, "description": description, "id": identifier}
        route = constants.DATASETS_PATH
        return await self._fetch(_CREATED, "POST", route, path, body, replay=False)

    async def delete_dataset(self, identifier: str, path: str) -> None:
        """Delete a dataset with all its entries."""
        await self._call("DELETE", _dataset(identifier), path)

    async def entry(self, identifier: str, path: str, **query: str) -> answers.EntryResponse:
        """Get an entry with its locations; ``version`` or ``revision_id`` for an older one."""
        return await self._fetch(_RESPONSE, "GET", _entry(identifier), path, params=query or None)

    async def revisions(
        self, identifier: str, path: str, *, limit: int, offset: int, drafts: bool
    ) -> answers.RevisionList:
        """List revisions of an entry, newest first; with ``drafts`` what is not published too."""
        params = {
            "limit": str(limit),
            "offset": str(offset),
            "include_unpublished": str(drafts).lower(),
        }
        route = _entry(identifier, "/revisions")
        return await self._fetch(_REVISIONS, "GET", route, path, params=params)

    async def create_entry(
        self, entry: requests.EntryCreate, path: str, *, replay: bool
    ) -> answers.EntryResponse:
        """Create an entry; which members are set decides what it becomes."""
        route = constants.ENTRIES_PATH
        return await self._fetch(_RESPONSE, "POST", route, path, entry, replay=replay)

    async def patch_entry(
        self, identifier: str, changes: Mapping[str, Any], path: str
    ) -> answers.EntryResponse:
        """Change an entry: its status, its tags, or by a revision."""
        return await self._fetch(_RESPONSE, "PATCH", _entry(identifier), path, changes)

    async def delete_entry(self, identifier: str, path: str) -> None:
        """Delete an entry."""
        await self._call("DELETE", _entry(identifier), path)

    async def initiate(
        self, identifier: str, part_hashes: Sequence[str], path: str
    ) -> answers.UploadInitiated:
        """Announce the base64 MD5 of every part; the answer has a signed URL for each."""
        route = _entry(identifier, "/multipart-upload/initiate")
        return await self._fetch(_INITIATED, "POST", route, path, {"part_hashes": part_hashes})

    async def complete(
        self, identifier: str, upload: str, parts: Sequence[tuple[str, str]], path: str
    ) -> None:
        """Put the parts together, by ETag and base64 MD5; doing it again gives the same."""
        numbered = [
            {"part_number": number, "etag": etag, "checksum": checksum}
            for number, (etag, checksum) in enumerate(parts, 1)
        ]
        body = {"upload_id": upload, "parts": numbered}
        await self._call("POST", _entry(identifier, "/multipart-upload/complete"), path, body)

    async def search(
        self, query: requests.SearchRequest, path: str = "datasets"
    ) -> list[answers.SearchHit]:
        """Search entries."""
        return await self._fetch(_HITS, "POST", constants.SEARCH_PATH, path, query)

    async def similar(
        self, query: requests.SimilarityRequest, path: str
    ) -> list[answers.SearchHit]:
        """Search entries by their embeddings."""
        return await self._fetch(_HITS, "POST", constants.SIMILARITY_PATH, path, query)

    async def _fetch(
        self,
        adapter: TypeAdapter[T],
        method: str,
        route: str,
        path: str,
        body: BaseModel | Mapping[str, Any] | None = None,
        *,
        replay: bool = True,
        params: Mapping[str, str] | None = None,
    ) -> T:
        reply = await self._call(method, route, path, body, replay=replay, params=params)
        return parsed(adapter, reply, path)

    async def _call(
        self,
        method: str,
        route: str,
        path: str,
        body: BaseModel | Mapping[str, Any] | None = None,
        *,
        replay: bool = True,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        return await self._transport.send(
            method,
            self._base + route,
            auth=self._auth,
            path=path,
            replay=replay,
            params=params,
            body=_json(body),
            headers=_JSON_HEADERS,
        )


def _json(body: BaseModel | Mapping[str, Any] | None) -> bytes | None:
    """Write a body, without members that are None."""
    if body is None:
        return None
    if isinstance(body, BaseModel):
        return body.model_dump_json(exclude_none=True).encode()
    told = {name: value for name, value in body.items() if value is not None}
    return json.dumps(told, ensure_ascii=False).encode()


def _dataset(identifier: str) -> str:
    return f"{constants.DATASETS_PATH}/{_segment(identifier)}"


def _entry(identifier: str, action: str = "") -> str:
    return f"{constants.ENTRIES_PATH}/{_segment(identifier)}{action}"


def _segment(identifier: str) -> str:
    """Write an id, which may be anything, as one segment of a route."""
    return quote(identifier, safe="").replace(".", "%2E")
