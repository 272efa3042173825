"""Entries as a listing or a closer look tells of them."""

from __future__ import annotations

import re
import time
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


@dataclass(slots=True, eq=False)
class StoredEntry:
    """A data storage entry.

    Attributes
    ----------
    entry
        The entry as the service last gave it.
    kind
        ``file``, ``directory``, or None while only a closer look can tell.
    dataset
        Id of the dataset in whose index this is.
    size
        Bytes, or None while unknown.
    size_certain
        False when the size is only what the writer claimed.
    md5
        Hexadecimal MD5 where known for this version.
    parts
        Digest of the parts in its place, where the content was hashed in parts.
    revision
        Id of the revision that the rest describes.
    url
        Signed URL of the content, or None.
    text
        Inline content, or None.
    metadata
        The user's metadata, or None while unknown.
    seen
        When this was read (monotonic seconds).
    looked
        Whether a closer look told the rest, not a listing alone.
    number
        Number of the revision, or None while unknown.
    pinned
        Whether this is an older revision, to which later looks keep.
    connection
        How to reach a registered source, or None.
    pieces
        The objects of a registered collection, or None.
    piece
        The object that this record stands for, which is no entry of its own, or None.
    by_id
        Whether it was asked for by its id, so that no other entry of its name is meant.
    """

    entry: answers.Entry
    kind: str | None
    dataset: str = ""
    size: int | None = None
    size_certain: bool = True
    md5: str | None = None
    parts: PartDigests | None = None
    revision: str | None = None
    url: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None
    storage_type: str | None = None
    content_type: str | None = None
    seen: float = 0.0
    looked: bool = False
    number: int | None = None
    pinned: bool = False
    connection: dict[str, Any] | None = None
    pieces: tuple[SourceObject, ...] | None = None
    piece: SourceObject | None = None
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
        version = self.revision or self.moment
        return version if self.piece is None else f"{version}/{self.piece.key}"

    @property
    def moment(self) -> str:
        """What changes with the entry, where the listing does not tell its revision."""
        return f"{self.entry.id}@{self.entry.modified_at.isoformat()}"

    @property
    def told(self) -> bool:
        """Whether nothing more is to be known of the entry than this."""
        own_object = self.storage_type != constants.StorageType.GCS or self.url is not None
        inside = self.storage_type not in {*EXTERNAL, constants.StorageType.PG_TABLE} and own_object
        return self.looked or (self.metadata is not None and inside)

    @property
    def checksum(self) -> str | None:
        """The checksum that ``info`` tells."""
        return checksum_of(self.size, self.md5, self.parts)

    def part(self, piece: SourceObject) -> StoredEntry:
        """Give the record of one object of a registered collection."""
        return replace(
            self,
            kind="file",
            size=piece.size,
            size_certain=False,
            md5=None,
            parts=None,
            url=piece.url,
            text=None,
            content_type=constants.ContentType.FILE.value,
            pieces=None,
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
        found = [piece for piece in self.pieces or () if piece.key == other.piece.key]
        return self.part(found[0] if found else replace(other.piece, url=None))

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
            details=self.details(),
            identity=("entry", self.identifier, self.piece.key if self.piece else None),
        )

    def details(self) -> dict[str, Any]:
        """Give the further keys of ``info``."""
        entry = self.entry
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
            "content_type": self.content_type,
        }


def listed(entry: answers.Entry, parents: frozenset[str]) -> StoredEntry:
    """Read an entry of a dataset's list, which may say little.

    Parameters
    ----------
    parents
        Ids that other entries name as their parent: those are directories.
    """
    size, text = entry.size, entry.content
    if entry.storage_type in EXTERNAL or (entry.storage_type is None and _may_be_link(entry)):
        text = None
    if size is None and text is not None:
        size = len(text.encode())
    return StoredEntry(
        entry=entry,
        kind=_kind(entry, parents),
        size=size,
        md5=entry.md5,
        revision=entry.current_revision_id,
        url=entry.signed_url,
        text=text,
        number=entry.version,
        metadata=_listed_metadata(entry),
        storage_type=entry.storage_type,
        content_type=entry.content_type,
        seen=time.monotonic(),
    )


def _listed_metadata(entry: answers.Entry) -> dict[str, Any] | None:
    """Give the user's metadata, where the list tells more of entries than it must."""
    if entry.content_type is None:
        return None
    return unmarked(entry.metadata, stored=entry.storage_type == constants.StorageType.GCS)


def _may_be_link(entry: answers.Entry) -> bool:
    """Say whether a listing that tells no types may mean a link, whose content is its target."""
    return not entry.file_path and bool(_URL.fullmatch(entry.content or ""))


def _kind(entry: answers.Entry, parents: frozenset[str]) -> str | None:
    if entry.is_collection and not (entry.file_path or "").lower().endswith(ARCHIVE):
        return None
    if entry.content_type is not None:
        return "directory" if entry.content_type == constants.ContentType.DIRECTORY else "file"
    if entry.id in parents:
        return "directory"
    if entry.content is not None or entry.file_path:
        return "file"
    return None


def from_response(response: answers.EntryResponse) -> StoredEntry:
    """Read the whole answer about one entry."""
    entry = response.data_storage
    configs = [location.storage_config for location in response.storage_locations]
    first = configs[0] if configs else None
    text = entry.content if entry.content is not None else response.content
    storage = first.storage_type if first else None
    inline = text is not None and storage not in {constants.StorageType.GCS, *EXTERNAL}
    folder = first is None and not inline and entry.status == constants.Status.ACTIVE
    pieces = pieces_of(response)
    if pieces is not None or (first and first.content_type == constants.ContentType.DIRECTORY):
        folder = True
    registered = first is not None and is_registered(first)
    metadata = {**(entry.metadata or {}), **_own_metadata(first)}
    tells = first is not None or "metadata" in entry.model_fields_set
    noted = claim(metadata, version=response.version, revision=response.revision_id)
    if first is not None and registered and is_size(told_by(first).get("size")):
        noted = ContentClaim(told_by(first)["size"])
    return StoredEntry(
        entry=entry,
        kind="directory" if folder else "file",
        size=len(text.encode()) if inline and text is not None else noted.size,
        size_certain=inline or noted.certain,
        md5=noted.md5 or (None if registered else entry.md5),
        parts=noted.parts,
        revision=response.revision_id or response.current_revision_id,
        url=first.signed_url if first and pieces is None else None,
        text=text if inline else None,
        metadata=unmarked(metadata, stored=storage == constants.StorageType.GCS) if tells else None,
        storage_type=storage,
        content_type=_content_type(first, pieces),
        seen=time.monotonic(),
        looked=True,
        number=response.version if response.revision_id else None,
        connection=connection(first, pieces) if first and registered else None,
        pieces=pieces,
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


def keep_known(record: StoredEntry, known: StoredEntry) -> None:
    """Carry over what a closer look had told about an entry that has not changed since.

    Equal times are not enough: two revisions may have been published within their resolution.
    """
    if record.revision and known.revision and record.revision != known.revision:
        return
    record.kind = record.kind or known.kind
    record.storage_type = record.storage_type or known.storage_type
    record.content_type = record.content_type or known.content_type
    if record.size is None:
        record.size, record.size_certain = known.size, known.size_certain
    record.md5 = record.md5 or known.md5
    record.parts = record.parts or known.parts
    record.revision = record.revision or known.revision
    record.url = record.url or known.url
    if record.metadata is None:
        record.metadata = known.metadata
    record.looked = known.looked
    record.connection = record.connection or known.connection
    if record.pieces is None:
        record.pieces = known.pieces
