"""synapsefs: data collections and datasets behind HTTP services, as an fsspec filesystem."""

from synapsefs._version import __version__
from synapsefs.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChangedError,
    ChecksumError,
    ConflictError,
    DiscardedWarning,
    InvalidPathError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
    UnreachableError,
    UnsupportedError,
)
from synapsefs.filesystem import SynapseFileSystem

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "ChangedError",
    "ChecksumError",
    "ConflictError",
    "DiscardedWarning",
    "InvalidPathError",
    "InvalidRequestError",
    "NotFoundError",
    "SynapseError",
    "SynapseFileSystem",
    "UnreachableError",
    "UnsupportedError",
    "__version__",
]
