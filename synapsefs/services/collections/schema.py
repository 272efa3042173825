"""What a collection asks of its units' metadata."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from synapsefs.metadata import metadata_problem
from synapsefs.services.collections.unit import MARK
from synapsefs.wire.collections import constants, metadata

logger = logging.getLogger("synapsefs")
NAMING_KEYS = (constants.META_KEY, constants.META_STEM, constants.META_EXTENSION)
"""Metadata that follows from a unit's files, so that nobody sets it."""


class MetadataRule:
    """The JSON Schema of a collection's unit metadata, if it has one.

    Parameters
    ----------
    schema
        As the collection's ``meta`` holds it under ``data_unit_meta_schema``; one that is no JSON
        Schema is left to the service.
    """

    def __init__(self, schema: dict[str, Any] | None) -> None:
        if schema is not None and (problem := metadata.schema_problem(schema)):
            logger.warning("unit metadata is not checked before it is sent: %s", problem)
            schema = None
        self.schema = schema

    @cached_property
    def _check(self) -> metadata.MetadataChecker | None:
        return None if self.schema is None else metadata.metadata_checker(self.schema)

    def problems(self, meta: Mapping[str, Any]) -> list[str]:
        """Say what in a unit's metadata breaks the schema."""
        return [] if self._check is None else self._check(meta)

    @cached_property
    def takes_mark(self) -> bool:
        """Whether units may carry our own note in their metadata; a closed schema forbids it."""
        return len(self.problems({MARK: {}})) <= len(self.problems({}))


def settable_problems(meta: Any) -> list[str]:
    """Say why nobody may set this metadata, whatever the collection's schema."""
    problem = metadata_problem(meta, MARK)
    return [f"meta {problem}"] if problem else []


def changed_metadata(
    before: Mapping[str, Any], changes: Mapping[str, Any], rule: MetadataRule | None
) -> tuple[dict[str, Any], list[str]]:
    """Apply changes to a unit's metadata, where None takes a key away.

    Returns
    -------
    tuple
        The metadata as it would be, our own note with it, and all that is wrong with it.
    """
    problems = settable_problems(changes)
    problems += [
        f"meta: {name} follows from the path: move the files instead"
        for name in NAMING_KEYS
        if name in changes and changes[name] != before.get(name)
    ]
    meta = {**before, **changes}
    meta = {name: value for name, value in meta.items() if name not in changes or value is not None}
    if not problems and rule is not None:
        problems = rule.problems({name: value for name, value in meta.items() if name != MARK})
    return meta, problems
