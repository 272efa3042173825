"""Entries as a listing or a closer look tells of them."""

from __future__ import annotations

import re
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from synapsefs.integrity import PartDigests
from synapsefs.location import Location
from synapsefs.services.base import Entry, aware
from synapsefs.services.datasets.metadata import (
    ContentClaim,
    EntryAttributes,
    checksum_of,
    claim,
    is_size,
    unmarked,
)
from synapsefs.services.datasets.sources import (
    EXTERNAL,
    SourceObject,
    connection,
    is_registered,
    pieces_of,
    redact,
    told_by,
)
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.datasets import answers, constants

ARCHIVE = ".zip"
_URL = re.compile(r"[a-z][a-z0-9+.-]*:\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EntryDetails:
    """What the answer about one entry tells, and a listing seldom.

    Attributes
    ----------
    metadata
        The user's metadata; None where the service does not tell it.
    connection
        How to reach a registered source, or None.
    pieces
        The objects of a registered collection, or None.
    """

    storage_type: str | None
    content_type: str | None
    metadata: dict[str, Any] | None
    connection: dict[str, Any] | None = None
    pieces: tuple[SourceObject, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StoredEntry:
    """A data storage entry.

    Attributes
    ----------
    entry
        The entry as the service last gave it.
    kind
        ``file``, ``directory``, or None while only its details can tell.
    dataset
        Id of the dataset in whose index this is.
    seen
        When this was read (monotonic seconds).
    details
        None while they have to be asked for.
    size
        Bytes, or None while unknown.
    is_size_certain
        False where the size is only what a writer claimed.
    md5
        Hexadecimal MD5 where known for this version.
    parts
        Digest of the parts in its place, where the content was hashed in parts.
    revision, number
        Id and number of the revision that the rest describes, or None while unknown.
    url
        Signed URL of the content, or None.
    text
        Inline content, or None.
    piece
        The object that this stands for, which is no entry of its own, or None.
    pinned
        Whether this is an older revision, to which later looks keep.
    by_id
        Whether it was asked for by its id, so that no other entry of its name is meant.
    """

    entry: answers.Entry
    kind: str | None
    dataset: str = ""
    seen: float = 0.0
    details: EntryDetails | None = None
    size: int | None = None
    is_size_certain: bool = True
    md5: str | None = None
    parts: PartDigests | None = None
    revision: str | None = None
    number: int | None = None
    url: str | None = None
    text: str | None = None
    piece: SourceObject | None = None
    pinned: bool = False
    by_id: bool = False

    @property
    def identifier(self) -> str:
        """The entry's id."""
        return self.entry.id

    @property
    def is_active(self) -> bool:
        """Whether the entry is in service."""
        return self.entry.status == constants.Status.ACTIVE

    @property
    def version(self) -> str:
        """What changes with the content."""
        own = self.own_version
        return own if self.piece is None else f"{own}/{self.piece.key}"

    @property
    def own_version(self) -> str:
        """The version of the entry, also where this stands for an object of it."""
        return self.revision or self.moment

    @property
    def moment(self) -> str:
        """What changes with the entry, where the listing does not tell its revision."""
        return f"{self.entry.id}@{self.entry.modified_at.isoformat()}"

    @property
    def storage_type(self) -> str | None:
        """Where the content lies, as far as known."""
        return self.details.storage_type if self.details else self.entry.storage_type

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The user's metadata, as far as known."""
        return self.details.metadata if self.details else _listed_metadata(self.entry)

    @property
    def connection(self) -> dict[str, Any] | None:
        """How to reach a registered source, once known."""
        return self.details.connection if self.details else None

    @property
    def pieces(self) -> tuple[SourceObject, ...] | None:
        """The objects of a registered collection, once known."""
        return self.details.pieces if self.details else None

    @property
    def checksum(self) -> str | None:
        """The checksum that ``info`` tells."""
        return checksum_of(self.size, self.md5, self.parts)

    def part(self, piece: SourceObject) -> StoredEntry:
        """Give what stands for one object of a registered collection."""
        details = self.details and replace(
            self.details, content_type=constants.ContentType.FILE.value, pieces=None
        )
        return replace(
            self,
            kind="file",
            size=piece.size,
            is_size_certain=False,
            md5=None,
            parts=None,
            url=piece.url,
            text=None,
            details=details,
            piece=piece,
        )

    def tree(self) -> DirectoryNode[StoredEntry]:
        """Give the objects of a registered collection as a directory."""
        found = DirectoryNode(self)
        for piece in self.pieces or ():
            found.put(piece.segments, self.part(piece))
        return found

    def like(self, other: StoredEntry) -> StoredEntry:
        """Give of this entry what ``other``, read before, stands for: it or one of its objects.

        An object that is gone has no URL.
        """
        if other.piece is None:
            return self
        same = [piece for piece in self.pieces or () if piece.key == other.piece.key]
        return self.part(same[0] if same else replace(other.piece, url=None))

    def with_size(self, size: int) -> StoredEntry:
        """Give the entry with the size of its content, or of an object of it."""
        piece = self.piece and replace(self.piece, size=size)
        return replace(self, size=size, is_size_certain=True, piece=piece)

    def with_digest(self, size: int, digest: str | PartDigests | None) -> StoredEntry:
        """Give the entry with what is known of content that was sent."""
        if isinstance(digest, PartDigests):
            return replace(self, size=size, is_size_certain=True, parts=digest)
        return replace(self, size=size, is_size_certain=True, md5=digest or self.md5)

    def with_known(self, known: StoredEntry) -> StoredEntry:
        """Add what was known of an entry that has not changed since.

        Equal times are not enough: two revisions may have been published within their resolution.
        """
        if self.revision and known.revision and self.revision != known.revision:
            return self
        return replace(
            self,
            kind=self.kind or known.kind,
            details=known.details or self.details,
            size=known.size if self.size is None else self.size,
            is_size_certain=(known if self.size is None else self).is_size_certain,
            md5=self.md5 or known.md5,
            parts=self.parts or known.parts,
            revision=self.revision or known.revision,
            url=self.url or known.url,
        )

    def said(self) -> EntryAttributes:
        """Give what the entry says besides its content, as far as it is known."""
        entry = self.entry
        tags = None if entry.tags is None else tuple(entry.tags)
        return EntryAttributes(entry.description, tags, self.metadata)

    def entry_at(self, place: Location) -> Entry:
        """Describe the entry as a file or directory at its place."""
        is_file = self.kind != "directory"
        return Entry(
            location=place,
            kind="file" if is_file else "directory",
            size=self.size if is_file else 0,
            checksum=self.checksum if is_file else None,
            version=self.version if is_file else None,
            created=aware(self.entry.created_at),
            modified=aware(self.entry.modified_at),
            record=self,
            details=self.info(),
            identity=("entry", self.identifier, self.piece.key if self.piece else None),
        )

    def info(self) -> dict[str, Any]:
        """Give the further keys of ``info``."""
        entry = self.entry
        content_type = self.details.content_type if self.details else entry.content_type
        more: dict[str, Any] = {}
        if self.connection is not None:
            more["connection"] = redact(self.connection)
            if self.storage_type == constants.StorageType.LINK:
                more.update(islink=True, destination=self.connection.get("location"))
        if self.number is not None:
            more["revision"] = self.number
        if self.md5 is None and self.parts is not None:
            more["part_size"] = self.parts.part_size
        return {
            **more,
            "id": entry.id,
            "short_alias": entry.short_alias,
            "dataset_id": entry.dataset_id,
            "description": entry.description or "",
            "tags": list(entry.tags or ()),
            "metadata": None if self.metadata is None else dict(self.metadata),
            "status": entry.status,
            "share_status": entry.share_status,
            "is_collection": entry.is_collection,
            "storage_type": self.storage_type,
            "content_type": content_type,
        }


def listed(
    entry: answers.Entry, parents: AbstractSet[str], dataset: str, seen: float
) -> StoredEntry:
    """Read an entry of a dataset's list, which may say little.

    Parameters
    ----------
    parents
        Ids that other entries name as their parent: those are directories.
    dataset, seen
        Of which dataset the list is, and when it was asked for (monotonic seconds).
    """
    size, text, storage = entry.size, entry.content, entry.storage_type
    if storage in EXTERNAL or (storage is None and _may_be_link(entry)):
        text = None
    if size is None and text is not None:
        size = len(text.encode())
    metadata = _listed_metadata(entry)
    is_elsewhere = storage in {*EXTERNAL, constants.StorageType.PG_TABLE} or (
        storage == constants.StorageType.GCS and entry.signed_url is None
    )
    return StoredEntry(
        entry=entry,
        kind=_kind(entry, parents),
        dataset=dataset,
        seen=seen,
        details=None
        if metadata is None or is_elsewhere
        else EntryDetails(storage, entry.content_type, metadata),
        size=size,
        md5=entry.md5,
        revision=entry.current_revision_id,
        number=entry.version,
        url=entry.signed_url,
        text=text,
    )


def _listed_metadata(entry: answers.Entry) -> dict[str, Any] | None:
    """Give the user's metadata, where the list tells more of entries than it must."""
    if entry.content_type is None:
        return None
    return unmarked(entry.metadata, stored=entry.storage_type == constants.StorageType.GCS)


def _may_be_link(entry: answers.Entry) -> bool:
    """Say whether a listing that tells no types may mean a link, whose content is its target."""
    return not entry.file_path and bool(_URL.fullmatch(entry.content or ""))


def _kind(entry: answers.Entry, parents: AbstractSet[str]) -> str | None:
    if entry.is_collection and not (entry.file_path or "").lower().endswith(ARCHIVE):
        return None
    if entry.content_type is not None:
        return "directory" if entry.content_type == constants.ContentType.DIRECTORY else "file"
    if entry.id in parents:
        return "directory"
    if entry.content is not None or entry.file_path:
        return "file"
    return None


def from_response(response: answers.EntryResponse, dataset: str = "") -> StoredEntry:
    """Read the whole answer about one entry."""
    entry = response.data_storage
    configs = [location.storage_config for location in response.storage_locations]
    first = configs[0] if configs else None
    text = entry.content if entry.content is not None else response.content
    storage = first.storage_type if first else None
    inline = text is not None and storage not in {constants.StorageType.GCS, *EXTERNAL}
    is_directory = first is None and not inline and entry.status == constants.Status.ACTIVE
    pieces = pieces_of(response)
    if pieces is not None or (first and first.content_type == constants.ContentType.DIRECTORY):
        is_directory = True
    registered = first is not None and is_registered(first)
    metadata = {**(entry.metadata or {}), **_own_metadata(first)}
    tells = first is not None or "metadata" in entry.model_fields_set
    noted = claim(metadata, version=response.version, revision=response.revision_id)
    if first is not None and registered and is_size(told_by(first).get("size")):
        noted = ContentClaim(told_by(first)["size"])
    details = EntryDetails(
        storage_type=storage,
        content_type=_content_type(first, pieces),
        metadata=unmarked(metadata, stored=storage == constants.StorageType.GCS) if tells else None,
        connection=connection(first, pieces) if first and registered else None,
        pieces=pieces,
    )
    return StoredEntry(
        entry=entry,
        kind="directory" if is_directory else "file",
        dataset=dataset,
        seen=time.monotonic(),
        details=details,
        size=len(text.encode()) if inline and text is not None else noted.size,
        is_size_certain=inline or noted.certain,
        md5=noted.md5 or (None if registered else entry.md5),
        parts=noted.parts,
        revision=response.revision_id or response.current_revision_id,
        number=response.version if response.revision_id else None,
        url=first.signed_url if first and pieces is None else None,
        text=text if inline else None,
    )


def _content_type(
    config: answers.StorageConfig | None, pieces: tuple[SourceObject, ...] | None
) -> str | None:
    if pieces is not None:
        return constants.ContentType.DIRECTORY.value
    return config.content_type if config else None


def _own_metadata(config: answers.StorageConfig | None) -> dict[str, Any]:
    """Give what a location tells of an entry's own metadata; a registered one describes itself."""
    return {} if config is None or is_registered(config) else told_by(config)
