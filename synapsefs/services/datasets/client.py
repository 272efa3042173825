"""The datasets service's routes, one method each, and its expiring bearer tokens."""

from __future__ import annotations

import asyncio
import hashlib
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
        found = _sessions.get(self._key)
        if found is None:
            async with self._locks.get("login"):
                found = _sessions.get(self._key)
                if found is None:
                    found = _sessions[self._key] = await self._login()
        return found

    async def _login(self) -> _Session:
        body = requests.LoginRequest(api_key=self._endpoint.secret)
        about = "datasets"
        reply = await self._transport.send(
            "POST",
            self._endpoint.url + constants.LOGIN_PATH,
            auth=_NoAuth(self.missing),
            path=about,
            replay=True,
            body=body.model_dump_json().encode(),
            headers=_JSON_HEADERS,
        )
        token = parsed(_LOGIN, reply, about).access_token
        if not token.isascii() or not token.isprintable():
            raise IntegrityError("the service's login gives no bearer token", about)
        return _Session(token, time.monotonic(), ANNOUNCEMENT in reply.headers)


_JSON_HEADERS = {"Content-Type": "application/json"}


class DatasetsClient:
    """Typed calls to one datasets service.

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

    async def announced(self) -> bool:
        """Say whether the server lists datasets on a route of its own."""
        return await self._auth.announced()

    async def listing(self, name: str | None = None) -> list[answers.Dataset]:
        """List datasets, newest first; only where the server announces it."""
        params = {"name": name} if name is not None else None
        reply = await self._call("GET", constants.LISTING_PATH, "datasets", params=params)
        return parsed(_LISTING, reply, "datasets").datasets

    async def dataset(self, identifier: str, about: str) -> answers.DatasetWithEntries:
        """Get a dataset with its entries of every depth."""
        reply = await self._call("GET", f"{constants.DATASETS_PATH}/{_segment(identifier)}", about)
        if len(reply.body) < LARGE:
            return parsed(_DATASET, reply, about)
        return await asyncio.to_thread(parsed, _DATASET, reply, about)

    async def create_dataset(
        self, name: str, description: str | None, identifier: str, about: str
    ) -> answers.DatasetCreated:
        """Create a dataset under an id of our choice, so that a repeat shows as a conflict."""
        body = requests.DatasetCreate(name=name, description=description, id=identifier)
        reply = await self._call("POST", constants.DATASETS_PATH, about, body, replay=False)
        return parsed(_CREATED, reply, about)

    async def delete_dataset(self, identifier: str, about: str) -> None:
        """Delete a dataset with all its entries."""
        await self._call("DELETE", f"{constants.DATASETS_PATH}/{_segment(identifier)}", about)

    async def entry(self, identifier: str, about: str, **query: str) -> answers.EntryResponse:
        """Get an entry with its locations; ``version`` or ``revision_id`` for an older one."""
        route = f"{constants.ENTRIES_PATH}/{_segment(identifier)}"
        reply = await self._call("GET", route, about, params=query or None)
        return parsed(_RESPONSE, reply, about)

    async def revisions(
        self, identifier: str, about: str, *, limit: int, offset: int, drafts: bool
    ) -> answers.RevisionList:
        """List revisions of an entry, newest first; with ``drafts`` what is not published too."""
        route = f"{constants.ENTRIES_PATH}/{_segment(identifier)}/revisions"
        params = {
            "limit": str(limit),
            "offset": str(offset),
            "include_unpublished": str(drafts).lower(),
        }
        return parsed(_REVISIONS, await self._call("GET", route, about, params=params), about)

    async def create_entry(
        self, entry: requests.EntryCreate, about: str, *, replay: bool
    ) -> answers.EntryResponse:
        """Create an entry; which members are set decides what it becomes."""
        reply = await self._call("POST", constants.ENTRIES_PATH, about, entry, replay=replay)
        return parsed(_RESPONSE, reply, about)

    async def patch_entry(
        self, identifier: str, changes: Mapping[str, Any], about: str
    ) -> answers.EntryResponse:
        """Change an entry: its status, its tags, or by a revision."""
        body = requests.EntryPatch.model_validate(changes)
        route = f"{constants.ENTRIES_PATH}/{_segment(identifier)}"
        reply = await self._call("PATCH", route, about, body, unset=False)
        return parsed(_RESPONSE, reply, about)

    async def delete_entry(self, identifier: str, about: str) -> None:
        """Delete an entry."""
        await self._call("DELETE", f"{constants.ENTRIES_PATH}/{_segment(identifier)}", about)

    async def initiate(
        self, identifier: str, part_hashes: Sequence[str], about: str
    ) -> answers.UploadInitiated:
        """Announce the base64 MD5 of every part; the answer has a signed URL for each."""
        body = requests.UploadInitiate(part_hashes=list(part_hashes))
        route = f"{constants.ENTRIES_PATH}/{_segment(identifier)}/multipart-upload/initiate"
        return parsed(_INITIATED, await self._call("POST", route, about, body), about)

    async def complete(
        self, identifier: str, upload: str, parts: Sequence[tuple[str, str]], about: str
    ) -> None:
        """Put the parts together, by ETag and base64 MD5; doing it again gives the same."""
        numbered = [
            requests.PartDone(part_number=number, etag=etag, checksum=checksum)
            for number, (etag, checksum) in enumerate(parts, 1)
        ]
        done = requests.UploadComplete(upload_id=upload, parts=numbered)
        route = f"{constants.ENTRIES_PATH}/{_segment(identifier)}/multipart-upload/complete"
        await self._call("POST", route, about, done)

    async def search(
        self, query: requests.SearchRequest, about: str = "datasets"
    ) -> list[answers.SearchHit]:
        """Search entries."""
        return parsed(_HITS, await self._call("POST", constants.SEARCH_PATH, about, query), about)

    async def similar(
        self, query: requests.SimilarityRequest, about: str
    ) -> list[answers.SearchHit]:
        """Search entries by their embeddings."""
        return parsed(
            _HITS, await self._call("POST", constants.SIMILARITY_PATH, about, query), about
        )

    async def _call(
        self,
        method: str,
        route: str,
        about: str,
        body: BaseModel | None = None,
        *,
        replay: bool = True,
        unset: bool = True,
        params: Mapping[str, str] | None = None,
    ) -> Reply:
        content = None
        if body is not None:
            text = body.model_dump_json(exclude_none=True, exclude_unset=not unset)
            content = text.encode()
        return await self._transport.send(
            method,
            self._base + route,
            auth=self._auth,
            path=about,
            replay=replay,
            params=params,
            body=content,
            headers=_JSON_HEADERS,
        )


def _segment(identifier: str) -> str:
    """Write an id, which may be anything, as one segment of a route."""
    return quote(identifier, safe="").replace(".", "%2E")
