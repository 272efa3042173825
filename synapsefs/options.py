"""Options of the filesystem: which ones there are, and values that come as text.

An option is an argument, or comes from fsspec's configuration: the environment, where fsspec reads
JSON, and ``*.ini`` files, where everything is text.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import fsspec.config
from fsspec.asyn import AsyncFileSystem
from fsspec.dircache import DirCache

from synapsefs.errors import InvalidRequestError

SECRETS = frozenset({"token", "datasets_token"})
LIKENESS = 0.75
"""How alike a misspelt option and a real one are at least, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an option's value may be.

    Attributes
    ----------
    types
        Types that need no parsing; text is parsed as the first of them.
    least, positive, finite
        Bounds of a number.
    """

    types: tuple[type, ...]
    least: float | None = None
    positive: bool = False
    finite: bool = True

    def broken(self, value: Any) -> str:
        """Give the bound that a number breaks, or nothing."""
        if self.least is not None and not value >= self.least:
            return f"must be at least {self.least:g}"
        if self.positive and not value > 0:
            return "must be more than 0"
        if self.finite and isinstance(value, float) and not math.isfinite(value):
            return "must be finite"
        return ""


_TEXT = Kind((str,))
_SWITCH = Kind((bool,))
_SECONDS = Kind((float, int), positive=True)
_COUNT = Kind((int,), least=1)
KINDS = {
    "endpoint_url": _TEXT,
    "token": _TEXT,
    "tenant": _TEXT,
    "datasets_endpoint_url": _TEXT,
    "datasets_token": _TEXT,
    "datasets": Kind((dict,)),
    "block_size": _COUNT,
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "retries": Kind((int,), least=0),
    "max_connections": _COUNT,
    "max_concurrency": _COUNT,
    "trust_env": _SWITCH,
    "resume": _SWITCH,
    "listings_expiry_time": Kind((float, int), least=0, finite=False),
    "use_listings_cache": _SWITCH,
    "asynchronous": _SWITCH,
    "skip_instance_cache": _SWITCH,
    "batch_size": Kind((int,), least=-1),
    "max_paths": Kind((int,), least=0),
}
"""What options may be; others are taken as they are."""


def named(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a construction by name; those that are None are left out.

    Raises
    ------
    TypeError
        For more positional options than there are, one given twice, and unknown ones.
    """
    names = _positional(cls)
    if len(args) > len(names):
        raise TypeError(
            f"{cls.__name__} takes {len(names)} positional options "
            f"({', '.join(names)}), but {len(args)} were given"
        )
    given = dict(zip(names, args, strict=False))
    for name in given.keys() & kwargs.keys():
        raise TypeError(f"{cls.__name__} got option {name!r} by position and by name")
    given |= kwargs
    _require_known(cls, given, {})
    return {name: value for name, value in given.items() if value is not None}


def configured(cls: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Add what fsspec's configuration sets, and parse what is text.

    A credential of the configuration is not used at another endpoint than the configuration's.

    Returns
    -------
    dict, dict
        The options, and where each of those that are no arguments comes from.

    Raises
    ------
    TypeError
        For an option of the configuration that is none.
    InvalidRequestError
        For a value that is not what the option may be.
    """
    conf = fsspec.config.apply_config(cls, {})
    conf = {name: value for name, value in conf.items() if value is not None}
    origins = {name: _origin(cls.protocol, name) for name in conf if name not in given}
    _require_known(cls, origins, origins)
    for name, origin in origins.items():
        if KINDS.get(name) is _TEXT and origin in os.environ:
            conf[name] = os.environ[origin]
    options = {**conf, **given}
    options = {name: _checked(name, options[name], origins.get(name, "")) for name in options}
    options.update(dict.fromkeys(origins.keys() & _strangers(conf, options), ""))
    return options, origins


def _strangers(conf: Mapping[str, Any], options: Mapping[str, Any]) -> set[str]:
    """Give the credentials of the configuration's endpoints, where others are to be asked."""
    found: set[str] = set()
    for names, endpoints in (
        ({"token", "tenant"}, ("endpoint_url",)),
        ({"datasets_token"}, ("datasets_endpoint_url", "endpoint_url")),
    ):
        home, asked = (
            next((str(source[name]).rstrip("/") for name in endpoints if source.get(name)), "")
            for source in (conf, options)
        )
        if home and home != asked:
            found |= names
    return found


@functools.cache
def _positional(cls: type) -> tuple[str, ...]:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


@functools.cache
def _known(cls: type) -> frozenset[str]:
    """Give the options of a class: its own, those of its bases, and fsspec's."""
    bases = [base for base in cls.__mro__ if issubclass(base, AsyncFileSystem)]
    made = [base.__init__ for base in bases if "__init__" in vars(base)]  # type: ignore[misc]
    return frozenset({"skip_instance_cache"}).union(*map(keywords, (*made, DirCache.__init__)))


def keywords(function: Any) -> set[str]:
    """Give the names that a function's own keyword arguments have."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}


def _require_known(cls: type, options: Iterable[str], origins: Mapping[str, str]) -> None:
    known = _known(cls)
    for name in options:
        if name not in known:
            origin = f" ({origins[name]})" if name in origins else ""
            hint = suggestion(near(name, known)) or f"; its options are {', '.join(sorted(known))}"
            raise TypeError(f"{cls.__name__} has no option {name!r}{origin}{hint}")


def near(name: str, known: Collection[str], likeness: float = LIKENESS) -> list[str]:
    """Give the known names that a misspelt one may have meant, best first."""
    found = difflib.get_close_matches(name.lower(), sorted(known), 2, likeness)
    if found:
        return found
    words = {word for option in known for word in option.split("_") if len(word) > 2}
    parts = difflib.get_close_matches(name.lower(), sorted(words), 1, likeness)
    return sorted(option for option in known if set(parts) & set(option.split("_")))[:3]


def suggestion(names: Iterable[str]) -> str:
    """Ask whether one of these names was meant; nothing for none."""
    listed = " or ".join(map(repr, names))
    return f"; did you mean {listed}?" if listed else ""


def _origin(protocol: str, name: str) -> str:
    """Say which part of fsspec's configuration sets an option."""
    variable = f"FSSPEC_{protocol}_{name}".upper()
    return variable if variable in os.environ else f"[{protocol}] in fsspec's configuration"


def _checked(name: str, value: Any, origin: str) -> Any:
    """Parse what is text and check what is a number.

    Raises
    ------
    InvalidRequestError
        Naming the option and where it comes from.
    """
    kind = KINDS.get(name)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is None:
        return value
    if type(value).__module__ == "numpy":
        value = value.item()
    problem = ""
    if type(value) not in kind.types:
        value, problem = _parsed(kind.types[0], value)
    if not problem:
        problem = kind.broken(value)
    if problem:
        shown = name if name in SECRETS else f"{name}={value!r}"
        raise InvalidRequestError(f"{shown}{f' ({origin})' if origin else ''}: {problem}")
    return value


def _parsed(wanted: type, value: Any) -> tuple[Any, str]:
    """Read a value as pydantic does; gives what is wrong with it too, or nothing."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - not on every import

    hint: Any = dict[str, str] if wanted is dict else wanted
    adapter = TypeAdapter(hint, config={"coerce_numbers_to_str": True})
    try:
        if wanted is dict and isinstance(value, str):
            return adapter.validate_json(value), ""
        return adapter.validate_python(value), ""
    except ValidationError as error:
        return value, str(error.errors(include_url=False, include_input=False)[0]["msg"])
