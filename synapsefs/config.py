"""Where the services are and how to talk to them: arguments, environment, login file, embedded.

fsspec's own configuration (``FSSPEC_SYNAPSE_*`` and its conf files) is merged by fsspec into the
arguments before they arrive here.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from synapsefs import localservers
from synapsefs.errors import InvalidRequestError

logger = logging.getLogger("synapsefs")

COLLECTIONS_DEFAULT_URL = "https://api.synapse.sh"
DATASETS_DEFAULT_URL = "https://api.platform.edisonscientific.com"
LOGIN_FILE = Path(".synapse") / "config.json"
MIB = 2**20
_announced_embedded: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service: where it is and what opens it.

    Attributes
    ----------
    url
        Base URL without a trailing slash.
    secret
        Access token (collections) or API key (datasets); empty for none.
    tenant
        Tenant code (collections only); empty when the token tells it.
    assumed
        True when nobody said that the service is there: the collections endpoint may serve both.
    """

    url: str
    secret: str = field(default="", repr=False)
    tenant: str = ""
    assumed: bool = False

    def __post_init__(self) -> None:
        if not (self.secret + self.tenant).isprintable():
            rule = "a token, key or tenant holds no control characters"
            raise InvalidRequestError(rule, self.url)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Limits of the conversation; every one is an argument of the filesystem.

    Attributes
    ----------
    connect_timeout, read_timeout
        Seconds to connect, and seconds in which something must move. There is no total timeout.
    retries
        How often a failed request is tried again.
    max_connections
        Connections at a time.
    max_concurrency
        Files or parts in flight at a time.
    block_size
        Bytes in one part of an upload.
    trust_env
        Take proxies from the environment.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    retries: int = 4
    max_connections: int = 64
    max_concurrency: int = 32
    block_size: int = 50 * MIB
    trust_env: bool = False

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.max_connections < 1 or self.max_concurrency < 1:
            rule = "block_size, max_connections and max_concurrency are at least 1"
            raise InvalidRequestError(rule)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an instance knows after reading every source.

    Attributes
    ----------
    collections, datasets
        The services; None where not configured, and both None where embedded.
    embedded
        Directory of the embedded server, or None.
    """

    collections: Endpoint | None = None
    datasets: Endpoint | None = None
    embedded: Path | None = None


def resolve(
    *,
    endpoint_url: str | None = None,
    token: str | None = None,
    tenant: str | None = None,
    datasets_endpoint_url: str | None = None,
    datasets_token: str | None = None,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> Settings:
    """Find the services. First that says something wins: argument, environment, login file.

    A credential found in the environment or the login file is never sent to another host than the
    one it was stored with.

    Raises
    ------
    InvalidRequestError
        For a URL that is neither ``http(s)`` nor ``file``.
    """
    environ = os.environ if environ is None else environ
    token, datasets_token = (token or "").strip(), (datasets_token or "").strip()
    login = _stored_login(environ, home)
    if endpoint_url and endpoint_url.startswith("file:"):
        settings = Settings(embedded=_directory(endpoint_url))
    elif endpoint_url:
        url = _base_url(endpoint_url)
        secret = token or (login.secret if not login.url or login.url == url else "")
        settings = Settings(collections=Endpoint(url, secret, tenant or ""))
    elif login.url or login.secret or token:
        url = login.url or COLLECTIONS_DEFAULT_URL
        settings = Settings(collections=Endpoint(url, token or login.secret, tenant or ""))
    else:
        settings = Settings()
    datasets = _datasets(settings, datasets_endpoint_url, datasets_token, environ)
    settings = _of_this_machine(replace(settings, datasets=datasets))
    return settings if settings != Settings() else Settings(embedded=_default_directory())


def _of_this_machine(settings: Settings) -> Settings:
    """Add the credentials of this user's own servers where nobody gave any."""
    collections, datasets = settings.collections, settings.datasets
    if collections and not collections.secret and (own := localservers.find(collections.url)):
        tenant = collections.tenant or own.tenant
        collections = replace(collections, url=own.url, secret=own.token, tenant=tenant)
    if datasets and (datasets.assumed or not datasets.secret):
        own = localservers.find(datasets.url)
        if own and own.api_key:
            datasets = replace(datasets, url=own.url, secret=own.api_key)
    return replace(settings, collections=collections, datasets=datasets)


def _datasets(
    settings: Settings, url: str | None, key: str | None, environ: Mapping[str, str]
) -> Endpoint | None:
    stored_key = environ.get("EDISON_PLATFORM_API_KEY", "").strip()
    if url and not url.startswith("file:"):
        base = _base_url(url)
        return Endpoint(base, key or (stored_key if base == DATASETS_DEFAULT_URL else ""))
    if settings.embedded:
        return None
    if settings.collections and key:
        return Endpoint(settings.collections.url, key)
    if key or stored_key:
        return Endpoint(DATASETS_DEFAULT_URL, key or stored_key)
    if settings.collections:
        return Endpoint(settings.collections.url, settings.collections.secret, assumed=True)
    return None


def _stored_login(environ: Mapping[str, str], home: Path | None) -> Endpoint:
    if environ.get("SYNAPSE_HOST") or environ.get("SYNAPSE_ACCESS_TOKEN"):
        host = environ.get("SYNAPSE_HOST", "")
        return Endpoint(
            _base_url(host) if host else "", environ.get("SYNAPSE_ACCESS_TOKEN", "").strip()
        )
    stored = _read_login_file((home or Path.home()) / LOGIN_FILE)
    host = str(stored.get("host") or "")
    return Endpoint(_base_url(host) if host else "", str(stored.get("access_token") or "").strip())


def _read_login_file(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("login file %s is not readable: %s", path, type(error).__name__)
        return {}
    return stored if isinstance(stored, dict) else {}


def _base_url(url: str) -> str:
    text = url if "://" in url else f"https://{url}"
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        rule = "an endpoint is https://…, http://… or file:///directory"
        raise InvalidRequestError(rule, parts.scheme + "://" + (parts.hostname or ""))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise InvalidRequestError("a local endpoint is file:///absolute/directory", url)
    return Path(unquote(parts.path))


def _default_directory() -> Path:
    import platformdirs  # noqa: PLC0415 - only where nothing is configured

    directory = Path(platformdirs.user_data_dir("synapsefs", appauthor=False)) / "store"
    if directory not in _announced_embedded:
        _announced_embedded.add(directory)
        logger.warning("no service is configured: using the embedded one in %s", directory)
    return directory
