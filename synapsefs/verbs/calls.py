"""What every call of a verb has in common: paths, keyword options, and the endpoint in errors."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import cached_property
from glob import has_magic
from types import MappingProxyType
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem

from synapsefs import sync
from synapsefs.errors import AccessDeniedError, InvalidRequestError, NotFoundError
from synapsefs.location import is_text
from synapsefs.options import close_matches, keywords, suggestion
from synapsefs.services.base import WRITE_OPTIONS

logger = logging.getLogger("synapsefs")
T = TypeVar("T")

SIMILARITY = 0.85
"""How alike an unknown option and one of the verb's are when it is taken for a slip."""

_PATHS = frozenset({"path", "path1", "path2", "paths", "lpath", "rpath"})
_LOCAL = frozenset({"files", "ignore_patterns", "ignore_filename", "manifest_filename", "value"})
_DEEPEST = 50
_MANNER = frozenset({"sync", "dry_run", "on_error", "files_callback", "callback"})
_TEXT = frozenset({"encoding", "errors", "newline"})
_HANDED_ON = {
    "cat": "cat_file",
    "copy": "cp_file",
    "du": "find",
    "get": "get_file",
    "glob": "find",
    "mv": "copy",
    "pipe": "pipe_file",
    "put": "put_file",
}
"""Verbs that hand options on to another one."""

_MORE = {
    "cat": frozenset({"recursive"}),
    "copy": frozenset({"maxdepth", "batch_size", "on_error"}),
    "get": _MANNER | {"unzip", "maxdepth", "batch_size"},
    "link": frozenset({"description", "metadata", "tags"}),
    "mkdir": frozenset(
        {"category", "description", "file_specifications", "id", "metadata", "tags", "exist_ok"}
    ),
    "mv": frozenset({"maxdepth", "batch_size", "on_error"}),
    "open": WRITE_OPTIONS | _TEXT | {"autocommit", "cache_type", "size", "version"},
    "open_async": WRITE_OPTIONS | {"autocommit", "block_size", "compression", "size", "version"},
    "pipe": WRITE_OPTIONS,
    "pipe_file": WRITE_OPTIONS,
    "put": _MANNER
    | WRITE_OPTIONS
    | {"as_collection", "batch_size", "ignore_defaults", "ignore_filename", "ignore_patterns"}
    | {"manifest_filename", "maxdepth"},
    "put_file": WRITE_OPTIONS,
}
"""Options that verbs take besides those of their signatures, and fsspec's own."""

FOREIGN = {
    "cp_file": frozenset({"callback", "blocksize", "tempdir", "isdir", "lstat"}),
    "info": frozenset({"version_id"}),
    "ls": frozenset({"versions"}),
    "mkdir": frozenset({"mode"}),
    "open": frozenset({"default_cache", "fill_cache"}),
}
"""Options that other filesystems take and that their callers therefore pass to any."""

_inside: ContextVar[bool] = ContextVar("inside a verb", default=False)


class Rules:
    """What calls of one verb may hold, read off signatures when it is first called.

    Parameters
    ----------
    function
        The verb.
    others
        The coroutine methods of its class, by name.
    """

    def __init__(self, function: Callable[..., Any], others: Mapping[str, Any]) -> None:
        self.name = function.__name__.removeprefix("_")
        self._function = function
        self._others = others

    @cached_property
    def _names(self) -> list[str]:
        """Names of the arguments, by position."""
        return list(inspect.signature(self._function).parameters)[1:]

    @cached_property
    def lenient(self) -> bool:
        """Whether it takes other options than its own and ignores them."""
        parameters = inspect.signature(self._function).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in parameters)

    @cached_property
    def options(self) -> frozenset[str] | None:
        """Names of its own options; None where any name means something."""
        if self.name == "setxattrs":
            return None
        own, more = keywords(self._function), _MORE.get(self.name, frozenset())
        if not self.lenient:
            return frozenset(own)
        own |= more | FOREIGN.get(self.name, frozenset())
        for form in (self.name, _HANDED_ON.get(self.name, self.name)):
            own |= _keywords(self._others.get(f"_{form}"), getattr(AsyncFileSystem, form, None))
            own |= _keywords(getattr(AsyncFileSystem, f"_{form}", None))
        return frozenset(own)

    def prepare(self, fs: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """Write paths as text, in ``options`` too, and check names and texts.

        Raises
        ------
        TypeError
            For an option whose name is nearly one of the verb's.
        InvalidRequestError
            For text with lone surrogates.
        """
        if self.options is not None and not self.options.issuperset(options):
            self._check_names(fs, options, self.options)
        for name, value in options.items():
            options[name] = _prepared(name, value)
        named = zip(self._names, args, strict=False)
        rest = args[len(self._names) :]
        return (*(_prepared(name, value) for name, value in named), *rest)

    def _check_names(self, fs: Any, options: Mapping[str, Any], own: frozenset[str]) -> None:
        for name in sorted(options.keys() - own):
            meant = close_matches(name, own, 1, SIMILARITY)
            if meant:
                raise TypeError(f"{self.name}() has no option {name!r}{suggestion(meant)}")
            known = (self.name, name) in fs.ignored_options or options[name] is None
            if self.lenient and not known:
                fs.ignored_options.add((self.name, name))
                logger.warning("%s() has no option %r: it is ignored", self.name, name)


def mirrored(*names: str) -> Callable[[type[T]], type[T]]:
    """Make coroutine methods, named without underscore, verbs with a synchronous twin each."""

    def decorate(cls: type[T]) -> type[T]:
        methods = {f"_{name}": getattr(cls, f"_{name}") for name in names}
        for name in names:
            verb = checked(methods[f"_{name}"], methods)
            twin = sync.synced(verb)
            twin.__doc__ = twin.__doc__ or getattr(getattr(cls, name, None), "__doc__", None)
            setattr(cls, f"_{name}", verb)
            setattr(cls, name, twin)
        return cls

    return decorate


def checked(
    method: Callable[..., Any], others: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., Any]:
    """Wrap a verb; what verbs call of each other is left alone."""
    rules = Rules(method, others)

    @functools.wraps(method)
    async def verb(self: Any, *args: Any, **options: Any) -> Any:
        if _inside.get():
            return await method(self, *args, **options)
        args = rules.prepare(self, args, options)
        token = _inside.set(True)
        try:
            result = await method(self, *args, **options)
        except FileNotFoundError as error:
            missing = _missing(error, rules.name)
            self.name_endpoint(missing)
            if missing is error:
                raise
            raise missing from None
        except AccessDeniedError as error:
            self.name_endpoint(error)
            raise
        finally:
            _inside.reset(token)
        if "on_error" in options:
            outcomes = result.values() if isinstance(result, dict) else result
            for outcome in outcomes if isinstance(outcomes, Iterable) else ():
                if isinstance(outcome, NotFoundError | AccessDeniedError):
                    self.name_endpoint(outcome)
        return result

    verb.rules = rules  # type: ignore[attr-defined]
    return verb


def _missing(error: FileNotFoundError, verb: str) -> FileNotFoundError:
    """Give fsspec's own error about paths, which is a list of them, path and errno."""
    if error.errno is not None or not error.args:
        return error
    paths = error.args[0] if isinstance(error.args[0], list | tuple) else error.args
    first = str(paths[0]) if paths else ""
    kind = "local file" if verb == "put" else "file"
    if has_magic(first):
        return NotFoundError(f"no {kind} or directory matches this pattern", first)
    return NotFoundError(f"no such {kind} or directory", first)


def opening(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``open``, which is synchronous, in the same way."""
    rules = Rules(method, {})

    @functools.wraps(method)
    def verb(self: Any, *args: Any, **options: Any) -> Any:
        args = rules.prepare(self, args, options)
        try:
            return method(self, *args, **options)
        except (NotFoundError, AccessDeniedError) as error:
            self.name_endpoint(error)
            raise

    verb.rules = rules  # type: ignore[attr-defined]
    return verb


def as_text(path: Any) -> Any:
    """Write path objects as text, also those in a collection of paths."""
    if isinstance(path, str):
        return path
    if isinstance(path, os.PathLike) or _is_upath(path):
        return os.fspath(path) if isinstance(path, os.PathLike) else str(path)
    if isinstance(path, list | tuple | set | frozenset):
        return [as_text(item) for item in path]
    if isinstance(path, Mapping):
        return {as_text(item): value for item, value in path.items()}
    return path


def _prepared(name: str, value: Any) -> Any:
    """Write a path as text, and check that other text is text."""
    if name in _PATHS:
        return value if isinstance(value, str) else as_text(value)
    if name not in _LOCAL:
        _require_text(name, value)
    return value


def _require_text(name: str, value: Any, depth: int = 0) -> None:
    """Refuse text that cannot be written as UTF-8, also within lists and mappings."""
    if isinstance(value, str):
        if not is_text(value):
            raise InvalidRequestError(f"{name} is Unicode text, without lone surrogates")
    elif isinstance(value, list | tuple | dict) and depth < _DEEPEST:
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            _require_text(name, item, depth + 1)


def _is_upath(path: Any) -> bool:
    """Say whether this is a remote path of universal_pathlib, which is no ``os.PathLike``."""
    return all(hasattr(path, name) for name in ("protocol", "path", "storage_options"))


def _keywords(*functions: Any) -> set[str]:
    return set().union(*(keywords(function) for function in functions if function is not None))
