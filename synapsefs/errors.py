"""The errors, and the one table that turns an HTTP status into one of them.

::

    OSError
    └── SynapseError                     errno, filename; .status, when a service answered
        ├── NotFoundError                FileNotFoundError      404
        ├── AccessDeniedError            PermissionError        401, 403
        ├── AlreadyExistsError           FileExistsError
        │   └── ConflictError                                   409
        ├── InvalidRequestError          ValueError             400, 422
        │   ├── InvalidPathError
        │   └── MissingContentError
        ├── RangeNotSatisfiableError     ValueError             416
        ├── TooLargeError                                       413   EFBIG
        ├── StorageFullError                                    507   ENOSPC
        ├── ThrottledError                                      429   EBUSY
        ├── ServiceError                                        5xx   EREMOTEIO
        ├── UnreachableError             ConnectionError
        │   └── IdleTimeoutError         TimeoutError                 ETIMEDOUT
        ├── ExpiredError                                        410   ESTALE
        ├── ChangedError                                              ESTALE
        ├── IntegrityError                                            EIO
        │   └── ChecksumError
        ├── FolderError                  IsADirectoryError
        ├── NotAFolderError              NotADirectoryError
        ├── NotEmptyError                                             ENOTEMPTY
        └── UnsupportedError             io.UnsupportedOperation      ENOTSUP

Messages carry the service's own words, never a token, a signature or a query string.
"""

from __future__ import annotations

import errno
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_URL_QUERY = re.compile(r"(\w+://[^\s?\"'<>]+)\?[^\s\"'<>]*")
_CREDENTIAL = re.compile(r"(?i)\b(bearer|token)\s+[\w.~+/=-]{6,}")
_LONGEST_WORDS = 600
_DEEPEST_WORDS = 20
_SHOWN_PROBLEMS = 20


class SynapseError(OSError):
    """Base of every error of this package.

    Parameters
    ----------
    message
        What happened and, for bad input, the rule that was broken.
    path
        The path or local file it happened to.
    code
        The errno, when not the class's own.
    status
        The HTTP status, when a service answered.

    Attributes
    ----------
    endpoint
        The endpoint that was asked, where the message names it.
    outcome_unknown
        Whether the service may have done what was asked although the answer never came.
    retry_after
        Seconds that the service asked to wait.
    body
        The service's answer.
    """

    default_errno = errno.EIO
    endpoint = ""
    outcome_unknown = False
    retry_after = 0.0
    body = b""

    def __init__(
        self,
        message: str = "",
        path: str | None = None,
        code: int | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code or self.default_errno, scrub(message))
        if path is not None:
            self.filename = path
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"endpoint": self.endpoint}
        return type(self), (self.strerror, self.filename, self.errno, self.status), state

    def name_endpoint(self, endpoint: str) -> None:
        """Add to the message which endpoint was asked, unless it names one."""
        if not self.endpoint:
            self.endpoint = endpoint
            self.strerror = f"{self.strerror} (asked {endpoint})"
            self.args = (self.errno, self.strerror)


class NotFoundError(SynapseError, FileNotFoundError):
    """Nothing is there, or nothing this account may see (404)."""

    default_errno = errno.ENOENT


class AccessDeniedError(SynapseError, PermissionError):
    """The credential is missing, wrong, or has no right to this (401, 403)."""

    default_errno = errno.EACCES


class AlreadyExistsError(SynapseError, FileExistsError):
    """Something is there already."""

    default_errno = errno.EEXIST


class ConflictError(AlreadyExistsError):
    """Somebody else changed it first (409)."""


class InvalidRequestError(SynapseError, ValueError):
    """The service refused what was asked for (400, 422)."""

    default_errno = errno.EINVAL


class MissingContentError(InvalidRequestError):
    """The service no longer has the content of files that were to be bound by its checksum.

    Attributes
    ----------
    locations
        Where those files were to appear.
    """

    locations: frozenset[Any] = frozenset()


class InvalidPathError(InvalidRequestError):
    """The path or name breaks a rule; nothing was sent."""


class RangeNotSatisfiableError(SynapseError, ValueError):
    """The range lies outside the file (416)."""

    default_errno = errno.EINVAL


class TooLargeError(SynapseError):
    """The service takes no file of this size (413)."""

    default_errno = errno.EFBIG


class StorageFullError(SynapseError):
    """The service's storage is full (507)."""

    default_errno = errno.ENOSPC


class ThrottledError(SynapseError):
    """Too many requests, retries included (429)."""

    default_errno = errno.EBUSY


class ServiceError(SynapseError):
    """The service failed, retries included (5xx)."""

    default_errno = getattr(errno, "EREMOTEIO", errno.EIO)


class UnreachableError(SynapseError, ConnectionError):
    """No answer: refused, reset, or unknown host."""

    default_errno = errno.ECONNREFUSED


class IdleTimeoutError(UnreachableError, TimeoutError):
    """Nothing moved for the idle timeout."""

    default_errno = errno.ETIMEDOUT


class ExpiredError(SynapseError):
    """An upload or a link lived too long (410)."""

    default_errno = errno.ESTALE


class ChangedError(SynapseError):
    """The file is no longer the version that was opened."""

    default_errno = errno.ESTALE


class IntegrityError(SynapseError):
    """Bytes are missing, surplus or different."""


class ChecksumError(IntegrityError):
    """The bytes do not have the checksum they should have."""


class FolderError(SynapseError, IsADirectoryError):
    """A file was expected; this is a directory."""

    default_errno = errno.EISDIR


class NotAFolderError(SynapseError, NotADirectoryError):
    """A directory was expected; this is a file."""

    default_errno = errno.ENOTDIR


class NotEmptyError(SynapseError):
    """The directory still holds something."""

    default_errno = errno.ENOTEMPTY


class UnsupportedError(SynapseError, io.UnsupportedOperation):
    """The service cannot do this; the message says what can be done instead."""

    default_errno = errno.ENOTSUP


class DiscardedWarning(UserWarning):
    """What was written to a file was thrown away when it was closed."""


_BY_STATUS: dict[int, type[SynapseError]] = {
    400: InvalidRequestError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    413: TooLargeError,
    416: RangeNotSatisfiableError,
    422: InvalidRequestError,
    429: ThrottledError,
    507: StorageFullError,
}


def from_status(status: int, words: str, path: str | None, endpoint: str = "") -> SynapseError:
    """Build the error for an HTTP answer of 400 or above, by its text and what was asked for."""
    kind = _BY_STATUS.get(status, ServiceError if status >= 500 else InvalidRequestError)
    if kind is RangeNotSatisfiableError:
        words = f"range not satisfiable: {words}"
    origin = f" from {endpoint}" if endpoint else ""
    error = kind(f"{words} (HTTP {status}{origin})", path, status=status)
    error.endpoint = endpoint
    return error


def enumerated(problems: Sequence[str]) -> str:
    """Put problems into one message; of very many, the first ones and how many more there are."""
    more = len(problems) - _SHOWN_PROBLEMS
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    return f"{shown}; and {more} more" if more > 0 else shown


@contextmanager
def error_path(path: str) -> Iterator[None]:
    """Attribute errors raised for a parent of ``path``, such as by its listing, to ``path``."""
    try:
        yield
    except SynapseError as error:
        if not error.filename or path.startswith(f"{error.filename}/"):
            error.filename = path
        raise


@contextmanager
def naming(target: str) -> Iterator[None]:
    """Let an error of the system that names no file, such as of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = target
        raise


def service_words(body: bytes) -> str:
    """Read the human text out of an error body: v1, v2, datasets or S3 style."""
    try:
        words = _words_in(json.loads(body))
    except (ValueError, RecursionError):
        text = body[: 4 * _LONGEST_WORDS].decode("utf-8", "replace")
        code = re.search(r"<Code>(.*?)</Code>", text)
        words = code[1] if code else re.sub(r"<[^>]*>", " ", text)
    return scrub(" ".join(words.split())[:_LONGEST_WORDS]) or "no further words"


def _words_in(value: Any, depth: int = 0) -> str:
    if depth > _DEEPEST_WORDS:
        return "…"
    if isinstance(value, dict):
        for key in ("detail", "error", "message"):
            if value.get(key):
                words = _words_in(value[key], depth + 1)
                details = value.get("details")
                return f"{words}: {_words_in(details, depth + 1)}" if details else words
        return "; ".join(f"{key}: {_words_in(item, depth + 1)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_words_in(item, depth + 1) for item in value)
    return str(value)


def scrub(text: str) -> str:
    """Take query strings of URLs and credentials out of a text."""
    return _CREDENTIAL.sub(r"\1 ***", _URL_QUERY.sub(r"\1?***", text))
