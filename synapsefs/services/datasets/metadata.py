"""What a writer says about a file besides its bytes, and what this package notes there itself.

The service keeps free metadata with an entry. Under the one key ``synapsefs`` this package keeps
the size and the MD5 of the content that it wrote, and the id of the revision that they describe;
everything else is the user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synapsefs.errors import InvalidRequestError
from synapsefs.integrity import PartDigests
from synapsefs.metadata import metadata_problem
from synapsefs.services.base import ARCHIVE

HIDDEN_TAG = "synapsefs-internal"
"""Tag of entries that this package keeps for itself: the catalogue, and sources of revisions."""

HELPER_NAME = ".synapsefs-upload"
"""Name of entries that only bring the content of a revision."""

MARK = "synapsefs"
TARGET = "target"
"""Mark of such an entry: the id of the entry that gets the content."""
_SIZE = "size"
NAMES = ("description", "tags", "metadata", "embedding")


@dataclass(frozen=True, slots=True)
class EntryAttributes:
    """Description, tags and metadata of an entry; None leaves what is there.

    Attributes
    ----------
    description
        Free text.
    tags
        Words to find the entry by.
    metadata
        Anything that JSON can hold, by name.
    archive
        Whether the content is a zipped directory.
    embedding
        Numbers by which similar entries are found; only of a new entry.
    """

    description: str | None = None
    tags: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] | None = field(default=None)
    archive: bool = False
    embedding: tuple[float, ...] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], path: str) -> EntryAttributes:
        """Read what was given at a write.

        Raises
        ------
        InvalidRequestError
            One error that names every problem; nothing was sent.
        """
        unknown = sorted(set(options) - {*NAMES, "base_version", ARCHIVE})
        problems = [f"{name} is not taken by datasets" for name in unknown]
        description, tags, metadata, embedding = (_listed(options.get(name)) for name in NAMES)
        if description is not None and not isinstance(description, str):
            problems.append("description is text")
        problems += _wrong_tags(tags) if tags is not None else []
        if metadata is not None and (problem := metadata_problem(metadata, MARK)):
            problems.append(f"metadata {problem}")
        problems += _wrong_embedding(embedding) if embedding is not None else []
        if problems:
            raise InvalidRequestError("; ".join(problems), path)
        return cls(
            description,
            None if tags is None else tuple(tags),
            metadata,
            archive=bool(options.get(ARCHIVE)),
            embedding=None if embedding is None else tuple(map(float, embedding)),
        )

    def over(self, before: EntryAttributes) -> EntryAttributes:
        """Take what is not said here from what was said before."""
        return replace(
            self,
            description=before.description if self.description is None else self.description,
            tags=before.tags if self.tags is None else self.tags,
            metadata=before.metadata if self.metadata is None else self.metadata,
        )

    def sent(self) -> dict[str, Any]:
        """Give what a new entry says, as it is sent."""
        metadata = None if self.metadata is None else marked(self.metadata, {})
        embedding = None if self.embedding is None else list(self.embedding)
        said = {"description": self.description, "metadata": metadata, "embedding": embedding}
        return {**said, "tags": self.tag_list()}

    def tag_list(self) -> list[str] | None:
        """Give the tags as they are sent."""
        return None if self.tags is None else list(self.tags)


def checked_tags(tags: Any, path: str) -> list[str]:
    """Give tags as they are sent.

    Raises
    ------
    InvalidRequestError
        When they are not a list of words.
    """
    listed = _listed(tags)
    problems = _wrong_tags(listed)
    if problems:
        raise InvalidRequestError("; ".join(problems), path)
    return list(listed)


def _listed(value: Any) -> Any:
    """Read what can be gone through only once."""
    return list(value) if isinstance(value, Iterator) else value


def _wrong_tags(tags: Any) -> list[str]:
    if isinstance(tags, str | bytes | Mapping) or not hasattr(tags, "__iter__"):
        return ["tags are a list of texts"]
    if not all(isinstance(tag, str) and tag for tag in tags):
        return ["each tag is a text that is not empty"]
    return [f"the tag {HIDDEN_TAG!r} is reserved"] if HIDDEN_TAG in tags else []


def _wrong_embedding(embedding: Any) -> list[str]:
    rule = ["an embedding is a list of finite numbers"]
    if isinstance(embedding, str | bytes | Mapping) or not hasattr(embedding, "__iter__"):
        return rule
    numbers = list(embedding)
    try:
        fit = all(math.isfinite(number) for number in numbers)
    except TypeError:
        return rule
    return [] if numbers and fit else rule


def marked(metadata: Mapping[str, Any] | None, marks: Mapping[str, Any]) -> dict[str, Any]:
    """Add this package's own marks to the user's metadata, where there are any.

    The service may put the content's size in place of a key ``size``, so that one is kept twice.
    """
    user = dict(metadata or {})
    kept = {_SIZE: user[_SIZE]} if _SIZE in user else {}
    own = {**marks, **({"user": kept} if kept else {})}
    return {**user, **({MARK: own} if own else {})}


def unmarked(metadata: Any, *, stored: bool) -> dict[str, Any]:
    """Give the user's metadata alone.

    Parameters
    ----------
    stored
        Whether the content is an object, with whose metadata the service tells its size.
    """
    if not isinstance(metadata, Mapping):
        return {}
    user = {key: value for key, value in metadata.items() if key != MARK}
    if stored:
        user.pop(_SIZE, None)
    kept = marks_in(metadata).get("user")
    return {**user, **kept} if isinstance(kept, Mapping) else user


def marks_in(metadata: Any) -> dict[str, Any]:
    """Give this package's own marks."""
    found = metadata.get(MARK) if isinstance(metadata, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class ContentClaim:
    """What a writer noted of the content.

    A size without a digest is another client's claim.
    """

    size: int | None = None
    md5: str | None = None
    parts: PartDigests | None = None

    @property
    def certain(self) -> bool:
        """Whether the size is more than a claim."""
        return self.md5 is not None or self.parts is not None


def digest_marks(size: int, digest: str | PartDigests) -> dict[str, Any]:
    """Give the marks that note the content's size (bytes) and digest."""
    if isinstance(digest, PartDigests):
        return {_SIZE: size, "parts": {"part_size": digest.part_size, "md5": digest.md5}}
    return {_SIZE: size, "md5": digest}


def claim(metadata: Any, *, version: int, revision: str | None) -> ContentClaim:
    """Read what a writer noted of a revision's content, as far as it is about this revision."""
    marks = marks_in(metadata)
    if version != 0 and marks.get("revision") != revision:
        return ContentClaim()
    size, parts = marks.get(_SIZE), marks.get("parts")
    if is_size(size) and _is_md5(marks.get("md5")):
        return ContentClaim(size, md5=marks["md5"])
    if is_size(size) and isinstance(parts, Mapping) and _is_md5(parts.get("md5")):
        part_size = parts.get("part_size")
        if is_size(part_size) and part_size:
            return ContentClaim(size, parts=PartDigests(part_size, parts["md5"]))
    size = metadata.get(_SIZE) if isinstance(metadata, Mapping) else None
    return ContentClaim(size if is_size(size) else None)


def _is_md5(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 32


def checksum_of(size: int | None, md5: str | None, parts: PartDigests | None) -> str | None:
    """Give the checksum that ``info`` tells: of several parts as S3's ETag is written."""
    if md5 is not None or parts is None or not size:
        return md5
    return f"{parts.md5}-{-(-size // parts.part_size)}"


def is_size(value: Any) -> bool:
    """Say whether a value told by somebody can be a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
