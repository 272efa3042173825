"""Where the services are and how to talk to them: arguments, environment, login file, embedded.

fsspec's own configuration (``FSSPEC_SYNAPSE_*`` and its conf files) is merged by fsspec into the
arguments before they arrive here.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from synapsefs.errors import InvalidRequestError
from synapsefs.local import servers

logger = logging.getLogger("synapsefs")

COLLECTIONS_DEFAULT_URL = "https://api.synapse.sh"
DATASETS_DEFAULT_URL = "https://api.platform.edisonscientific.com"
LOGIN_FILE = Path(".synapse") / "config.json"
ADDRESSING = (
    "endpoint_url", "token", "tenant", "datasets_endpoint_url", "datasets_token", "datasets",
)  # fmt: skip
"""The options that say where the services are and what opens them."""
_announced_embedded: set[Path] = set()
_USER_INFO = re.compile(r"^([a-z+]+:/{1,2})?.*@", re.IGNORECASE)
_HOST_NAME = re.compile(r"(?i)[a-z0-9-]+(\.[a-z0-9-]+)+\.?(:\d+)?(/|$)")


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


def resolve(options: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """Find the services. First that says something wins: argument, environment, login file.

    A credential found in the environment or the login file is never sent to another host than the
    one it was stored with. The embedded server is for those who configured nothing at all.

    Parameters
    ----------
    options
        Those of :data:`ADDRESSING`, as far as they are given.
    origins
        Where options come from, by name, for errors.

    Raises
    ------
    InvalidRequestError
        For a URL that is neither ``http(s)`` nor ``file``, and for what belongs to an endpoint
        when there is none.
    """
    token, datasets_token = (str(options.get(n) or "").strip() for n in ("token", "datasets_token"))
    tenant, datasets_url = options.get("tenant") or "", options.get("datasets_endpoint_url") or ""
    endpoint_url = _one_embedded(options.get("endpoint_url") or "", datasets_url)
    login = _stored_login()
    collections = embedded = None
    if endpoint_url.startswith("file:"):
        embedded = _directory(endpoint_url)
    elif endpoint_url:
        url = _base_url(endpoint_url, "endpoint_url")
        collections = Endpoint(url, token or (login.secret if login.url == url else ""), tenant)
    elif login.url:
        collections = Endpoint(login.url, token or login.secret, tenant)
    datasets = _datasets(collections, datasets_url, datasets_token, embedded is not None)
    if embedded is None:
        of_collections = {} if collections else {"token": token, "tenant": tenant}
        named = options.get("datasets")
        of_datasets = {} if datasets else {"datasets_token": datasets_token, "datasets": named}
        _require_endpoints(of_collections, of_datasets, origins or {})
    settings = _of_this_machine(Settings(collections, datasets, embedded))
    return settings if settings != Settings() else Settings(embedded=_default_directory())


def _of_this_machine(settings: Settings) -> Settings:
    """Add the credentials of this user's own servers where nobody gave any."""
    collections, datasets = settings.collections, settings.datasets
    if collections and not collections.secret and (own := servers.find(collections.url)):
        tenant = collections.tenant or own.tenant
        collections = replace(collections, url=own.url, secret=own.token, tenant=tenant)
    if datasets and (datasets.assumed or not datasets.secret):
        own = servers.find(datasets.url)
        if own and own.api_key:
            datasets = replace(datasets, url=own.url, secret=own.api_key)
    return replace(settings, collections=collections, datasets=datasets)


def addresses(settings: Settings) -> dict[str, str]:
    """Give the endpoints as options that lead to the same services in any process."""
    urls = {}
    if settings.embedded is not None:
        urls["endpoint_url"] = settings.embedded.as_uri()
    elif settings.collections is not None:
        urls["endpoint_url"] = settings.collections.url
    if settings.datasets is not None:
        urls["datasets_endpoint_url"] = settings.datasets.url
    return urls


def _one_embedded(url: str, datasets_url: str) -> str:
    """Give the collections' endpoint; an embedded server of datasets serves both."""
    if not datasets_url.startswith("file:") or url == datasets_url:
        return url
    if url:
        rule = "an embedded server serves both services: give it as endpoint_url alone"
        raise InvalidRequestError(f"datasets_endpoint_url: {rule}", redacted(datasets_url))
    return datasets_url


def _datasets(collections: Endpoint | None, url: str, key: str, embedded: bool) -> Endpoint | None:
    stored_key = os.environ.get("EDISON_PLATFORM_API_KEY", "").strip()
    if url and not url.startswith("file:"):
        base = _base_url(url, "datasets_endpoint_url")
        key = key or (stored_key if base == DATASETS_DEFAULT_URL else "")
        if collections and not key and base == collections.url:
            return Endpoint(base, collections.secret, assumed=True)
        return Endpoint(base, key)
    if not embedded and stored_key and not key:
        return Endpoint(DATASETS_DEFAULT_URL, stored_key)
    if collections:
        return Endpoint(collections.url, key or collections.secret, assumed=not key)
    return None


def _require_endpoints(
    of_collections: Mapping[str, Any], of_datasets: Mapping[str, Any], origins: Mapping[str, str]
) -> None:
    """Refuse what belongs to an endpoint that is not named: nobody means the embedded server."""
    for orphans, missing, hosted in (
        (of_collections, "endpoint_url", COLLECTIONS_DEFAULT_URL),
        (of_datasets, "datasets_endpoint_url", DATASETS_DEFAULT_URL),
    ):
        for name in (name for name, value in orphans.items() if value):
            origin = f" ({origins[name]})" if name in origins else ""
            raise InvalidRequestError(
                f"{name}{origin} is given, but {missing} is missing; "
                f"that of the hosted service is {hosted}"
            )


def _stored_login() -> Endpoint:
    """Read a login; a token that is stored without a host belongs to the hosted service."""
    host = os.environ.get("SYNAPSE_HOST", "")
    token, origin = os.environ.get("SYNAPSE_ACCESS_TOKEN", ""), "SYNAPSE_HOST"
    if not (host or token):
        path = Path.home() / LOGIN_FILE
        stored = _read_login_file(path)
        host, token = str(stored.get("host") or ""), str(stored.get("access_token") or "")
        origin = f"host in {path}"
    if not host:
        return Endpoint(COLLECTIONS_DEFAULT_URL if token.strip() else "", token.strip())
    if "://" not in host and not _is_loopback(host):
        host = f"https://{host}"
    return Endpoint(_base_url(host, origin), token.strip())


def _read_login_file(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("login file %s is not readable: %s", path, type(error).__name__)
        return {}
    return stored if isinstance(stored, dict) else {}


def _base_url(url: str, origin: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        rule = "an endpoint is https://…, http://… or file:///directory"
        raise InvalidRequestError(f"{origin}: {rule}{_suggestion(url)}", redacted(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _split(url: str) -> SplitResult | None:
    """Take a URL apart; None for what is no URL."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return None
    return parts


def _suggestion(url: str) -> str:
    """Say what was probably meant by a URL without a scheme."""
    url = redacted(url)
    if "://" in url:
        return ""
    if _is_loopback(url):
        return f"; did you mean 'http://{url}'?"
    if _HOST_NAME.match(url):
        return f"; did you mean 'https://{url}'?"
    if "/" in url and ":" not in url:
        return f"; did you mean '{Path(url).absolute().as_uri()}'?"
    return ""


def _is_loopback(url: str) -> bool:
    parts = _split(f"//{url}")
    host = parts.hostname if parts else None
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def redacted(url: str) -> str:
    """Give a URL, or what was meant to be one, without a user name or password in it."""
    return _USER_INFO.sub(r"\1***@", url).partition("?")[0]


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        rule = "a local endpoint is file:///absolute/directory"
        raise InvalidRequestError(rule, redacted(url))
    return Path(unquote(parts.path))


def _default_directory() -> Path:
    import platformdirs  # noqa: PLC0415 - only where nothing is configured

    directory = Path(platformdirs.user_data_dir("synapsefs", appauthor=False)) / "store"
    if directory not in _announced_embedded:
        _announced_embedded.add(directory)
        logger.warning("no service is configured: using the embedded one in %s", directory)
    return directory
