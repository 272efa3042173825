"""What a service must do for the filesystem, and the values they exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from synapsefs.checkpoint import Checkpoint, UploadCheckpoint
from synapsefs.location import Location, Root, split_suffix
from synapsefs.remote_object import RemoteObject

Kind = Literal["file", "directory"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory as a service knows it.

    Attributes
    ----------
    location
        Canonical place.
    kind
        ``file`` or ``directory``.
    size
        Bytes; None while unknown, 0 for directories.
    checksum
        Hexadecimal checksum of the content (MD5, SHA-1 or SHA-256, by its length), or None.
    version
        Changes whenever the content does; None for directories.
    created, modified
        Times with a timezone, or None where the service does not tell.
    record
        The service's own handle; opaque to others.
    details
        Further keys of ``info``.
    identity
        The service's own id of it, whatever the path it was asked for by; None where only its
        canonical path tells it from others.
    is_container
        Whether it is a collection or dataset.
    """

    location: Location
    kind: Kind
    size: int | None = None
    checksum: str | None = None
    version: str | None = None
    created: datetime | None = None
    modified: datetime | None = None
    record: Any = field(default=None, compare=False, repr=False)
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)
    identity: Hashable | None = field(default=None, compare=False)
    is_container: bool = field(default=False, compare=False)

    @property
    def key(self) -> Hashable:
        """What two entries have in common when they are the same file or directory."""
        return self.identity or self.location

    def info(self) -> dict[str, Any]:
        """Give the dictionary that fsspec calls info; a new one at each call."""
        found: dict[str, Any] = {
            "name": self.location.path,
            "type": self.kind,
            "size": self.size,
        }
        if self.created:
            found["created"] = self.created
        if self.modified or self.created:
            found["mtime"] = self.modified or self.created
        if self.kind == "file":
            found["checksum"] = self.checksum
            found["version"] = self.version
        return {**found, **self.details}


def directory(location: Location, **details: Any) -> Entry:
    """Make a directory entry."""
    return Entry(location, "directory", size=0, details=details)


def aware(moment: datetime | None) -> datetime | None:
    """Read a time without a timezone as UTC, as the services mean it."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


@dataclass(slots=True)
class Staged:
    """A file whose bytes have arrived and were verified, and that nobody sees yet.

    Attributes
    ----------
    location
        Where it will appear.
    size
        Bytes.
    exclusive
        Refuse to replace what is there.
    handle
        The service's own; opaque to others.
    base
        The version that the new one shall follow, and no other; None to follow whatever is there.
    checkpoint
        Remembers the file until it is published; None for files that are not worth it.
    abandon
        Clears it away when it shall not be published after all; None where the service has no way.
    """

    location: Location
    size: int
    exclusive: bool
    handle: Any
    base: str | int | None = None
    checkpoint: Checkpoint | None = None
    abandon: Callable[[], Awaitable[None]] | None = None


class Upload(Protocol):
    """Bytes on their way to one file."""

    part_size: int
    smallest_part: int
    """Bytes that each part but the last must have at least."""

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part; all but the last have ``part_size`` bytes.

        The buffer belongs to the upload from now on: it must not change any more.
        """

    async def resume(self, checkpoint: UploadCheckpoint, report: Callable[[int], None]) -> int:
        """Take over the local file, and what an earlier process sent of it.

        Parameters
        ----------
        checkpoint
            Keeps how far this has come.
        report
            Is told bytes that have arrived.

        Returns
        -------
        int
            The byte from which on parts are wanted: the file's size where none are.
        """

    async def finish(self) -> Staged:
        """Wait until all bytes have arrived and are verified."""

    async def abort(self) -> None:
        """Give up; what was sent is never visible."""

    async def suspend(self) -> None:
        """Stop, and leave what was sent to a later process."""


WRITE_OPTIONS = frozenset({"description", "tags", "metadata", "embedding", "base_version"})
"""What may be given at a write besides bytes; each service says which it takes."""


ARCHIVE = "is_collection"
"""The write option that marks a zip archive as a zipped directory, where a service knows that."""


def write_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the options of a write from keyword arguments, of which fsspec passes many more."""
    return {name: given[name] for name in WRITE_OPTIONS if given.get(name) is not None}


UNKNOWN_SIZE = -1
"""Size of a file whose end is not known before it is read, such as a FIFO."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written.

    Attributes
    ----------
    location
        Where it will appear.
    source
        Local path, or the content itself.
    size
        Bytes; ``UNKNOWN_SIZE`` where only the end of the source tells.
    exclusive
        Refuse to replace what is there.
    options
        What is said of it: ``description``, ``tags``, ``metadata``, ….
    resume
        Continue an interrupted upload, and let a later process continue this one; None for what
        the filesystem was made with.
    """

    location: Location
    source: str | memoryview
    size: int
    exclusive: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool | None = None


Report = Callable[[int, int], None]
"""Is told bytes and files."""


def publish_key(location: Location) -> Hashable:
    """Give what files have in common that only appear together: a collection's unit."""
    if location.root is not Root.COLLECTIONS:
        return location
    return location.container, split_suffix("/".join(location.inner[1:]))[0]


class Service(Protocol):
    """One of the two services."""

    async def resolve(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find what is at a path, named as it was asked for; a cached "nothing" is asked again.

        An entry that is addressed by its own id has the name that it has in listings.
        """

    async def resolve_many(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> Sequence[Entry | None]:
        """Resolve many paths; None for what is not there.

        Each collection or dataset is listed at most once, whatever is missing: with ``refresh``
        anew.
        """

    async def list(
        self, location: Location, *, recursive: bool = False, refresh: bool = False
    ) -> Sequence[Entry]:
        """List a directory, with ``recursive`` at any depth; a file lists as itself.

        Names begin as the path was asked for.
        """

    async def with_sizes(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Fill in the sizes that are not known yet, in bulk."""

    async def open(self, entry: Entry) -> RemoteObject:
        """Open a file's bytes for reading."""

    async def check(self, files: Sequence[NewFile], *, complete: bool) -> None:
        """Check, before any byte is sent, that files may be written: options first, then paths.

        Raises one error that names the first offending path and every rule broken. With
        ``complete`` the files must be publishable together as they are.
        """

    def check_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse what cannot be said of a file or directory, naming every problem."""

    async def start_upload(self, file: NewFile) -> Upload:
        """Begin to write a file that has been checked."""

    async def upload_many(
        self, files: Sequence[NewFile], report: Report, *, deferred: bool = False
    ) -> dict[Location, Staged]:
        """Send files that have been checked by a route that takes many, where there is one.

        Parameters
        ----------
        report
            Is told bytes and files that have arrived, and negative numbers when they are to be
            sent again.
        deferred
            They are published later, when nothing can be sent again: content that the service has
            already is not relied on.

        Returns
        -------
        dict
            The files that are there, ready to be published; the others are to be sent one by one.
        """

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make files visible, together where the service can.

        When ``then`` fails, which is done before anything is replaced, they are taken back where
        the service can. ``MissingContentError`` names files that are to be sent again.
        """

    async def copy(
        self, pairs: Sequence[tuple[Entry, Location]]
    ) -> Sequence[tuple[Entry, Location]]:
        """Copy files without moving bytes; give back the pairs where bytes must move."""

    async def attributes(self, entry: Entry) -> dict[str, Any]:
        """Give all attributes of a file or directory by name."""

    async def set_attributes(
        self, entry: Entry, changes: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Set attributes, or remove those that are None.

        Gives None when that is done, else the options with which the file is to be written anew.
        """

    async def with_details(self, entry: Entry) -> Entry:
        """Fill in the details of ``info`` that listings lack."""

    async def copy_options(self, entry: Entry) -> Mapping[str, Any]:
        """Give the options of a copy with the same description, tags and metadata."""

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a directory, or what the service has in its place."""

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Remove files, and directories together with everything in them.

        With ``unchanged`` an entry is removed only where the service still has it with the same
        id and version. The others are left, and then ``ChangedError`` names the first of them.
        """

    async def aclose(self) -> None:
        """Finish what was deferred."""

    async def refresh(self, location: Location, newer_than: float) -> bool:
        """List anew what shows a path, unless it was asked for since (monotonic seconds).

        Returns whether it was listed anew.
        """

    def invalidate(self) -> None:
        """List everything anew at its next use."""


def rebase(asked: Location, place: Location, entries: Sequence[Entry]) -> list[Entry]:
    """Name what lies at or below a place as it was asked for, by ``@id`` for instance.

    Callers take names apart by the path that they asked for.

    Parameters
    ----------
    asked, place
        What was asked for, and the canonical place that it means.
    """
    if asked == place:
        return list(entries)
    depth = len(place.segments)
    return [
        replace(entry, location=asked.child(*entry.location.segments[depth:])) for entry in entries
    ]
