"""What a path means: URL text to a frozen :class:`Location` and back. Pure; nothing here talks.

A path is ``collections/<collection>/<specification>/<key…>`` or ``datasets/<dataset>/<key…>``.
Each segment is a service's own name, escaped only where a path could not hold it:

======================  =========  =========================================================
name holds              written    why
======================  =========  =========================================================
``/``                   ``%2F``    it would read as a separator
``.`` or ``..`` alone   ``%2E``…   it would read as "here" or "above"
``@`` and an id         ``%40``…   ``@<id>`` addresses by id
NUL                     ``%00``    no local file and no URL could hold it
``%`` before an escape  ``%25``    it would read as an escape
======================  =========  =========================================================

What reads as an id depends on the service: a number in collections; in datasets a UUID, or a short
alias of eight letters and digits. Any other name that begins with ``@`` is written as it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum

from synapsefs.errors import InvalidPathError, NotFoundError

PROTOCOL = "synapse"
_ESCAPED = {"2F": "/", "2E": ".", "40": "@", "25": "%", "00": "\0"}
_ESCAPE = re.compile(r"%(2F|2E|40|25|00)", re.IGNORECASE)
_AMBIGUOUS_PERCENT = re.compile(r"%(?=2F|2E|40|25|00)", re.IGNORECASE)


class Root(StrEnum):
    """The two services, as the first segment of a path names them."""

    COLLECTIONS = "collections"
    DATASETS = "datasets"


_PLAIN_KEY = re.compile(r"[^/.%@\0][^/%@\0]*(/[^/.%@\0][^/%@\0]*)*")
"""Keys in which nothing is to be escaped; there are others."""

_IDS = {
    Root.COLLECTIONS: re.compile(r"@[0-9]{1,19}"),
    Root.DATASETS: re.compile(r"(?i)@([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z2-7]{8})"),
}
"""How a segment looks that addresses by id."""


def escape(name: str, root: Root | None = None) -> str:
    """Write a service's name as one path segment; :func:`unescape` is its inverse.

    Parameters
    ----------
    root
        The service; either of them where left out.

    >>> escape("a/b"), escape(".."), escape("100%"), escape("%2F")
    ('a%2Fb', '%2E%2E', '100%', '%252F')
    >>> escape("@types"), escape("@7", Root.COLLECTIONS), escape("@7", Root.DATASETS)
    ('@types', '%407', '@7')
    """
    segment = _AMBIGUOUS_PERCENT.sub("%25", name) if "%" in name else name
    segment = segment.replace("/", "%2F").replace("\0", "%00")
    if segment in {".", ".."}:
        return segment.replace(".", "%2E")
    is_id = segment.startswith("@") and id_of(segment, root) is not None
    return "%40" + segment[1:] if is_id else segment


def unescape(segment: str) -> str:
    """Read the name that a path segment stands for."""
    if "%" not in segment:
        return segment
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1].upper()], segment)


def escape_key(key: str, root: Root | None = None) -> tuple[str, ...]:
    """Write a key that may hold folders (``train/0001``) as path segments.

    Empty folder names cannot stand between separators, so the extra slash is escaped into its
    neighbour: ``a//b`` becomes ``a``, ``%2Fb``. :func:`unescape_key` is the inverse.
    """
    if _PLAIN_KEY.fullmatch(key):
        return tuple(key.split("/"))
    names: list[str] = []
    slashes = ""
    for name in key.split("/"):
        if name:
            names.append(slashes + name)
            slashes = ""
        else:
            slashes += "/"
    if slashes:
        last = names.pop() if names else slashes[1:]
        names.append(last + slashes if key.strip("/") else "/" * key.count("/"))
    return tuple(escape(name, root) for name in names)


def unescape_key(segments: tuple[str, ...]) -> str:
    """Read the key that path segments stand for."""
    return unescape("/".join(segments))


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into stem and suffix (``a.tar.gz`` into ``a.tar`` and ``.gz``)."""
    return os.path.splitext(name)


def with_id(name: str, identifier: str) -> str:
    """Put an id into a segment that another, newer one holds plainly: ``stem@id.ext``."""
    stem, suffix = split_suffix(name)
    return f"{stem}@{escape(identifier)}{suffix}"


def id_of(segment: str, root: Root | None = None) -> str | None:
    """Give the id that a segment addresses (``@17``), or None when it is a name.

    Parameters
    ----------
    root
        The service; either of them where left out.
    """
    if not segment.startswith("@"):
        return None
    patterns = _IDS.values() if root is None else (_IDS[root],)
    return segment[1:] if any(pattern.fullmatch(segment) for pattern in patterns) else None


def plain(segment: str, root: Root | None) -> str:
    """Write a segment without an escape of ``@`` that it does not need."""
    if not segment.startswith("%40") or root is None:
        return segment
    name = f"@{segment[3:]}"
    return segment if id_of(name, root) is not None else name


def strip_protocol(path: str | os.PathLike[str]) -> str:
    """Drop ``synapse://``, outer and doubled slashes; nothing is validated."""
    path = os.fspath(path)
    for prefix in (f"{PROTOCOL}://", f"{PROTOCOL}::"):
        if path.startswith(prefix):
            path = path[len(prefix) :]
            break
    if "//" in path:
        path = re.sub("/{2,}", "/", path)
    return path.strip("/")


def is_text(name: str) -> bool:
    """Say whether a name can be written as UTF-8: lone surrogates cannot."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Location:
    """A validated place in the tree.

    Attributes
    ----------
    segments
        The path's segments as written (escaped), root first; empty for ``synapse://``.
    """

    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> Location:
        """Read a URL or a stripped path.

        Raises
        ------
        InvalidPathError
            For a ``.`` or ``..`` segment, a NUL character, or what is no Unicode text.
        NotFoundError
            For a root that is neither service.
        """
        path = os.fspath(path)
        stripped = strip_protocol(path)
        segments = tuple(stripped.split("/")) if stripped else ()
        for segment in segments:
            if segment in {".", ".."}:
                rule = f"{segment!r} is no name here; a name of dots is written {escape(segment)}"
                raise InvalidPathError(rule, path)
            if "\0" in segment:
                raise InvalidPathError("a NUL character is written %00", path.replace("\0", "\\0"))
        if not is_text(stripped):
            raise InvalidPathError("a name is Unicode text, without lone surrogates", path)
        if segments and segments[0] not in list(Root):
            raise NotFoundError(f"{segments[0]!r} is neither 'collections' nor 'datasets'", path)
        if "/%40" in stripped:
            segments = tuple(plain(segment, Root(segments[0])) for segment in segments)
        return cls(segments)

    @property
    def path(self) -> str:
        """The stripped path, as fsspec names things."""
        return "/".join(self.segments)

    @property
    def root(self) -> Root | None:
        """The service, or None at ``synapse://``."""
        return Root(self.segments[0]) if self.segments else None

    @property
    def container(self) -> str:
        """The collection's or dataset's segment; empty above it."""
        return self.segments[1] if len(self.segments) > 1 else ""

    @property
    def inner(self) -> tuple[str, ...]:
        """The segments below the collection or dataset."""
        return self.segments[2:]

    @property
    def specification(self) -> str:
        """The file specification's name (collections only); empty above it."""
        return unescape(self.segments[2]) if len(self.segments) > 2 else ""

    @property
    def name(self) -> str:
        """The last segment; empty at ``synapse://``."""
        return self.segments[-1] if self.segments else ""

    @property
    def parent(self) -> Location:
        """The place above; ``synapse://`` is its own parent."""
        return Location(self.segments[:-1])

    def child(self, *segments: str) -> Location:
        """Go down by escaped segments."""
        return Location(self.segments + segments)

    def __str__(self) -> str:
        return f"{PROTOCOL}://{self.path}"
