"""Entries whose content lies outside the service: links, buckets, table rows, databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from synapsefs.location import Root, escape_key
from synapsefs.services.datasets.metadata import is_size
from synapsefs.wire.datasets import answers, constants

EXTERNAL = frozenset(
    {
        constants.StorageType.BIGQUERY,
        constants.StorageType.ELASTIC_SEARCH,
        constants.StorageType.LINK,
    }
)
"""Storage types whose content the service does not pass on."""

_COVERED = "***"
_SECRETS = ("key", "token", "secret", "password")
_INSTEAD = {
    constants.StorageType.LINK: "open {location} itself, as the entry's instructions say",
    constants.StorageType.BIGQUERY: (
        "query {project_id}.{dataset_id}.{table_id} with a BigQuery client"
    ),
    constants.StorageType.ELASTIC_SEARCH: "query {location} with an Elasticsearch client",
}


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object of a registered collection.

    Attributes
    ----------
    key
        Its whole name in the bucket.
    segments
        Its path below the entry.
    url
        Signed URL, or None.
    size
        Bytes, or None while unknown.
    """

    key: str
    segments: tuple[str, ...]
    url: str | None
    size: int | None


def told_by(config: answers.StorageConfig) -> dict[str, Any]:
    """Give what a location says about itself."""
    return dict(config.metadata) if isinstance(config.metadata, Mapping) else {}


def is_registered(config: answers.StorageConfig) -> bool:
    """Say whether a location is a source outside the service."""
    if config.storage_type == constants.StorageType.GCS:
        return "bucket_name" in told_by(config)
    if config.storage_type == constants.StorageType.PG_TABLE:
        return "table_name" in told_by(config)
    return config.storage_type in EXTERNAL


def connection(
    config: answers.StorageConfig, pieces: tuple[SourceObject, ...] | None = None
) -> dict[str, Any]:
    """Give what it takes to reach a registered source, as JSON holds it.

    Parameters
    ----------
    config
        Its location, the first of several.
    pieces
        The objects of a collection, of which that location is one; None where it is the whole.
    """
    found = {
        "storage_type": config.storage_type,
        "content_type": config.content_type,
        "location": config.location,
        "content_schema": config.content_schema,
        **told_by(config),
    }
    if pieces is not None:
        found |= {
            "content_type": constants.ContentType.DIRECTORY.value,
            "location": None,
            "size": None,
        }
    return {name: value for name, value in found.items() if value is not None}


def redact(details: Mapping[str, Any]) -> dict[str, Any]:
    """Cover what looks like a credential, so that it can be shown."""
    return {
        name: _COVERED if any(word in name.lower() for word in _SECRETS) else value
        for name, value in details.items()
    }


def instead(details: Mapping[str, Any]) -> str:
    """Say what to do instead of opening a source."""
    known = {name: details.get(name, "?") for name in ("project_id", "dataset_id", "table_id")}
    known["location"] = details.get("location") or "it"
    way = _INSTEAD[constants.StorageType(details["storage_type"])].format(**known)
    kind = details["storage_type"]
    return f"this entry points to {kind}, which has no bytes here: {way} (see info())"


def pieces_of(response: answers.EntryResponse) -> tuple[SourceObject, ...] | None:
    """Give the objects of a registered collection; None for an entry that is one file."""
    configs = [location.storage_config for location in response.storage_locations]
    registered = bool(configs) and is_registered(configs[0])
    of_bucket = registered and configs[0].storage_type == constants.StorageType.GCS
    if len(configs) < 2 and not (of_bucket and response.data_storage.is_collection):
        return None
    return tuple(_piece(config, number) for number, config in enumerate(configs) if _holds(config))


def _holds(config: answers.StorageConfig) -> bool:
    """Say whether a location is an object: an empty collection may describe itself instead."""
    return bool(config.signed_url) and not (config.location or "").endswith("/")


def _piece(config: answers.StorageConfig, number: int) -> SourceObject:
    told = told_by(config)
    bucket, prefix = str(told.get("bucket_name", "")), str(told.get("prefix") or "")
    key = config.location or unquote(urlsplit(config.signed_url or "").path).lstrip("/")
    for scheme in ("gs://", ""):
        key = key.removeprefix(f"{scheme}{bucket}/") if bucket else key
    key = key or f"object-{number}"
    above = prefix[: prefix.rfind("/") + 1]
    relative = key.removeprefix(above) or key
    size = told.get("size") if is_size(told.get("size")) else None
    return SourceObject(key, escape_key(relative, Root.DATASETS), config.signed_url, size)
