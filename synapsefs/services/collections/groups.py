"""The groups of units: the service tells the innermost one, mostly by its id."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from synapsefs.errors import SynapseError
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.unit import Unit

logger = logging.getLogger("synapsefs")


async def group_names(api: CollectionsClient, collection: Collection) -> dict[int, str]:
    """Give the names of a collection's groups by id; none where the service does not list them."""
    path = collection.location.path
    try:
        return await api.group_names(collection.identifier, path)
    except SynapseError as error:
        logger.info("%s: no list of groups: %s", path, error)
        return {}


async def own_groups(
    api: CollectionsClient, collection: Collection, units: Iterable[Unit]
) -> dict[int, tuple[str, ...]]:
    """Give the groups of units, by unit id, that are not just the folders of their keys.

    What copies such a unit or takes its place is to be in them too. Of a group in a group that
    somebody else made, only the inner one is known.
    """
    units = list(units)
    foreign = [unit for unit in units if not unit.marked and unit.group]
    ask = any(isinstance(unit.group, int) for unit in foreign)
    names = await group_names(api, collection) if ask else {}
    found = {unit.identifier: groups for unit in units if (groups := unit.own_groups) is not None}
    for unit in foreign:
        groups = unit.groups(names)
        if groups and groups[-1:] != unit.folders[-1:]:
            found[unit.identifier] = groups
    return found
