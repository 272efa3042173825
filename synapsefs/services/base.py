"""What a service must do for the filesystem, and the values they exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from synapsefs.journal import Checkpoint
from synapsefs.location import Location
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
    journal
        Remembers the file until it is published; None for files that are not worth it.
    abandon
        Clears it away when it shall not be published after all; None where the service has no way.
    """

    location: Location
    size: int
    exclusive: bool
    handle: Any
    base: str | int | None = None
    journal: Checkpoint | None = None
    abandon: Callable[[], Awaitable[None]] | None = None


class UploadState(Protocol):
    """What a later process resumes from: how far the upload of one file has come."""

    @property
    def noted(self) -> Mapping[str, Any]:
        """What an earlier process noted; empty where there is nothing to continue."""

    @property
    def stale(self) -> Mapping[str, Any]:
        """What an earlier process noted about a file that has changed since."""

    @property
    def lasts(self) -> bool:
        """Whether a later process may resume."""

    async def note(self, **facts: Any) -> None:
        """Note ids, offsets and checksums for a later process; never a secret."""


@dataclass(frozen=True, slots=True)
class Source:
    """A local file to send.

    Attributes
    ----------
    path
        Where it is.
    size
        Bytes.
    progress
        Called with the number of bytes that have arrived, as they do.
    memory
        What an earlier process came to; None where that is not wanted.
    """

    path: str
    size: int
    progress: Callable[[int], None]
    memory: UploadState | None = None


class Upload(Protocol):
    """Bytes on their way to one file."""

    part_size: int
    smallest_part: int
    """Bytes that each part but the last must have at least."""

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part; all but the last have ``part_size`` bytes.

        The buffer belongs to the upload until the next call returns.
        """

    async def adopt(self, source: Source) -> int:
        """Take a local file, or what an earlier process sent of it.

        Gives the byte from which on parts are wanted: the size where none are.
        """

    async def finish(self) -> Staged:
        """Wait until all bytes have arrived and are verified."""

    async def abort(self) -> None:
        """Give up; what was sent is never visible."""

    async def pause(self) -> None:
        """Stop, and leave what was sent to a later process."""


class AttributeAccess(Protocol):
    """What a service keeps about files and directories besides their bytes."""

    async def read(self, entry: Entry) -> dict[str, Any]:
        """Give all attributes by name."""

    async def change(self, entry: Entry, changes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Set attributes, or remove those that are None.

        Gives None when that is done, else the options with which the file is to be written anew.
        """

    async def tags(self, entry: Entry) -> list[str]:
        """Give the tags."""

    async def set_tags(self, entry: Entry, tags: Sequence[str]) -> None:
        """Replace the tags."""

    async def share(self, entry: Entry, status: str, accessors: Mapping[str, Any]) -> None:
        """Say who may read."""

    async def described(self, entry: Entry) -> Entry:
        """Fill in the details of ``info`` that listings lack."""

    async def copy_options(self, entry: Entry) -> Mapping[str, Any]:
        """Give the options with which a copy of a file or directory says what that one says."""


class History(Protocol):
    """The versions of files, where a service keeps them."""

    async def revisions(self, entry: Entry, *, drafts: bool) -> list[dict[str, Any]]:
        """List a file's versions, newest first."""

    async def at(self, entry: Entry, version: str | int) -> Entry:
        """Give a file as it was at a version."""


class ExternalSources(Protocol):
    """Files whose content lies outside the service."""

    async def link(self, location: Location, target: str, options: Mapping[str, Any]) -> None:
        """Note a URL."""

    async def register(self, location: Location, source: Mapping[str, Any]) -> None:
        """Note a source that the service can read or describe."""


class Searching(Protocol):
    """Finding entries by what they say."""

    async def search(self, location: Location, wanted: Mapping[str, Any]) -> list[Entry]:
        """Find entries below a place, best first; hits have ``score`` among their details."""

    async def similar(self, location: Location, wanted: Mapping[str, Any]) -> list[Entry]:
        """Find entries below a place by their embeddings, nearest first."""


WRITE_OPTIONS = frozenset({"description", "tags", "metadata", "embedding", "base_version"})
"""What may be given at a write besides bytes; each service says which it takes."""


ARCHIVE = "is_collection"
"""The write option that marks a zip archive as a zipped directory, where a service knows that."""


def write_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the options of a write from keyword arguments, of which fsspec passes many more."""
    return {name: given[name] for name in WRITE_OPTIONS if given.get(name) is not None}


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A local file that is to be sent: path, place, bytes, and what is said of it."""

    path: str
    location: Location
    size: int
    exclusive: bool
    options: Mapping[str, Any]


class Service(Protocol):
    """One of the two services."""

    @property
    def annotations(self) -> AttributeAccess:
        """What the service keeps besides bytes."""

    @property
    def history(self) -> History | None:
        """The versions of files; None where only the newest is kept."""

    @property
    def references(self) -> ExternalSources | None:
        """Content outside the service; None where it keeps all of it."""

    @property
    def searching(self) -> Searching | None:
        """Search; None where the service has none."""

    async def entry(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find what is at a place; a cached "nothing" is asked again."""

    async def entries(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> list[Entry | None]:
        """Resolve many paths; None for what is not there.

        Each collection or dataset is listed at most once, whatever is missing: with ``refresh``
        anew.
        """

    async def children(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List a directory; a file lists as itself."""

    async def descendants(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List everything below a directory, directories included."""

    async def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in the sizes that are not known yet, in bulk."""

    async def content(self, entry: Entry) -> RemoteObject:
        """Open a file's bytes for reading."""

    async def validate(
        self,
        locations: Sequence[Location],
        *,
        complete: bool,
        options: Mapping[Location, Mapping[str, Any]] | None = None,
    ) -> None:
        """Check, before any byte is sent, that files may be written at these places.

        Raises one error that names the first offending path and every rule broken. With
        ``complete`` the files must be publishable together as they are.
        """

    def check_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse options of a write that are not taken, before anything is sent.

        Raises one ``InvalidRequestError`` that names every problem.
        """

    async def upload(
        self, location: Location, *, size: int | None, exclusive: bool, options: Mapping[str, Any]
    ) -> Upload:
        """Begin to write a file; ``size`` in bytes where it is known, ``options`` as checked here.

        Raises ``InvalidRequestError``, before anything is sent, for options that are not taken.
        """

    async def present(self, sources: Sequence[LocalSource]) -> dict[Location, Staged]:
        """Give the files whose content need not be sent, ready to be published."""

    async def upload_many(
        self,
        sources: Sequence[LocalSource],
        progress: Callable[[int], None],
        counter: Callable[[int], None],
    ) -> dict[Location, Staged]:
        """Send files by a route that takes many at once, where there is one.

        Parameters
        ----------
        sources
            The files.
        progress, counter
            Are told bytes and files that have arrived, and negative numbers when they are to be
            sent again.

        Returns
        -------
        dict
            The files that have arrived; the others are to be sent one by one.
        """

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make files visible, together where the service can.

        When ``then`` fails, which is done before anything is replaced, they are taken back where
        the service can.
        """

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Copy files without moving bytes; give back the pairs where bytes must move."""

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a directory, or what the service has in its place."""

    async def rename(self, entry: Entry, target: Location) -> bool:
        """Give a collection or dataset another name; False where it has to be copied."""

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Remove files, and directories together with everything in them.

        With ``unchanged`` an entry is removed only where the service still has it with the same
        id and version. The others are left, and then ``ChangedError`` names the first of them.
        """

    async def aclose(self) -> None:
        """Finish what was deferred."""

    async def renewed(self, location: Location, since: float) -> bool:
        """List anew what shows a place, unless that was done since then (monotonic seconds).

        Returns whether it was listed anew.
        """

    def expire(self) -> None:
        """Let what is known be listed anew at its next use."""

    def invalidate(self, location: Location | None) -> None:
        """Forget what was listed at, above and below a place; everything for None."""


def measured_as(entry: Entry, size: int | None) -> Entry:
    """Give the entry with its size filled in."""
    return replace(entry, size=size)


async def none_of_them(sources: Sequence[LocalSource], *_: object) -> dict[Location, Staged]:  # noqa: ARG001
    """Give no files, where a service cannot use content a second time, or take many at once."""
    return {}
