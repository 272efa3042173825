"""Options of the filesystem: each declared once, with its default and the values it may have.

An option is an argument, or comes from fsspec's configuration: the environment, where fsspec reads
JSON, and ``*.ini`` files, where everything is text.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import ssl as _ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Concatenate, ParamSpec, TypeVar

import fsspec.config
from fsspec.asyn import AsyncFileSystem
from fsspec.dircache import DirCache

from synapsefs.errors import InvalidRequestError

P = ParamSpec("P")
S = TypeVar("S")
O = TypeVar("O")  # noqa: E741 - options
MIB = 2**20
SECRETS = frozenset({"token", "datasets_token"})
SIMILARITY = 0.75
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

    def problem(self, value: Any) -> str:
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


def _option(kind: Kind, default: Any = None) -> Any:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True)
class Options:
    """All options of the filesystem; :class:`~synapsefs.SynapseFileSystem` explains them.

    Attributes
    ----------
    tls
        Checks certificates as ``ssl`` says; the system's authorities where None.
    """

    endpoint_url: str | None = _option(_TEXT)
    token: str | None = _option(_TEXT)
    tenant: str | None = _option(_TEXT)
    datasets_endpoint_url: str | None = _option(_TEXT)
    datasets_token: str | None = _option(_TEXT)
    _: KW_ONLY
    datasets: Mapping[str, str] | None = _option(Kind((dict,)))
    block_size: int = _option(_COUNT, 50 * MIB)
    connect_timeout: float = _option(_SECONDS, 10.0)
    read_timeout: float = _option(_SECONDS, 60.0)
    retries: int = _option(Kind((int,), least=0), 4)
    max_connections: int = _option(_COUNT, 64)
    max_concurrency: int = _option(_COUNT, 16)
    trust_env: bool = _option(_SWITCH, False)
    ssl: _ssl.SSLContext | str | os.PathLike[str] | None = None
    resume: bool = _option(_SWITCH, True)
    listings_expiry_time: float | None = _option(Kind((float, int), least=0, finite=False))
    use_listings_cache: bool = _option(_SWITCH, True)
    asynchronous: bool = _option(_SWITCH, False)
    loop: Any = None
    batch_size: int | None = _option(Kind((int,), least=-1))
    max_paths: int | None = _option(Kind((int,), least=0))
    tls: _ssl.SSLContext | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tls", _tls_context(self.ssl))

    @property
    def listings_expiry(self) -> float | None:
        """Seconds for which a listing is used; None where the caller did not choose."""
        return self.listings_expiry_time if self.use_listings_cache else 0.0


KINDS: Mapping[str, Kind] = {
    "skip_instance_cache": _SWITCH,
    **{each.name: each.metadata["kind"] for each in fields(Options) if each.metadata},
}


def taking(
    options: Callable[P, O],
) -> Callable[[Callable[[S, O], None]], Callable[Concatenate[S, P], None]]:
    """Give an ``__init__`` that takes one value of options the arguments of these options."""

    def decorate(method: Callable[[S, O], None]) -> Callable[Concatenate[S, P], None]:
        def init(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
            method(self, options(*args, **kwargs))

        functools.update_wrapper(init, method)
        own = next(iter(inspect.signature(method).parameters.values()))
        parameters = [own, *inspect.signature(options).parameters.values()]
        init.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return init

    return decorate


def _tls_context(given: Any) -> _ssl.SSLContext | None:
    """Give the context that checks certificates by the authorities in a file or directory.

    Raises
    ------
    InvalidRequestError
        For what holds no certificates.
    """
    if given is None or isinstance(given, _ssl.SSLContext):
        return given
    try:
        path = os.fspath(given)
        if os.path.isdir(path):
            return _ssl.create_default_context(capath=path)
        return _ssl.create_default_context(cafile=path)
    except (OSError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        rule = "is an ssl.SSLContext, or a path of certificates in PEM form"
        raise InvalidRequestError(f"ssl={given!r} {rule}: {reason}") from None


def named(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a construction by name; those that are None are left out.

    Raises
    ------
    TypeError
        For more positional options than there are, one given twice, and unknown ones.
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] if args else []
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
    options.update(dict.fromkeys(origins.keys() & _foreign_secrets(conf, options), ""))
    return options, origins


def _foreign_secrets(conf: Mapping[str, Any], options: Mapping[str, Any]) -> set[str]:
    """Name the credentials of the configuration's endpoints where others are to be asked."""
    names: set[str] = set()
    for secrets, endpoints in (
        ({"token", "tenant"}, ("endpoint_url",)),
        ({"datasets_token"}, ("datasets_endpoint_url", "endpoint_url")),
    ):
        home, asked = (
            next((str(source[name]).rstrip("/") for name in endpoints if source.get(name)), "")
            for source in (conf, options)
        )
        if home and home != asked:
            names |= secrets
    return names


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


def near(name: str, known: Collection[str]) -> list[str]:
    """Give the known names that a misspelt one may have meant, best first."""
    if close := close_matches(name, known, 2):
        return close
    words = {word for option in known for word in option.split("_") if len(word) > 2}
    parts = close_matches(name, words, 1)
    return sorted(option for option in known if set(parts) & set(option.split("_")))[:3]


def close_matches(
    name: str, known: Collection[str], most: int, similarity: float = SIMILARITY
) -> list[str]:
    """Give the known names that are alike, best first."""
    import difflib  # noqa: PLC0415 - only for what is misspelt

    return difflib.get_close_matches(name.lower(), sorted(known), most, similarity)


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
    if problem := problem or kind.problem(value):
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
