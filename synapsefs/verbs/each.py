"""Send many files so that one bad one never loses the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency
from synapsefs.errors import InvalidRequestError
from synapsefs.location import Location, Root, split_suffix
from synapsefs.services.base import Staged

FAULTS = (OSError, ValueError)


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How ``put`` or ``get`` goes about many files.

    Attributes
    ----------
    sync
        Leave files alone whose content is there already.
    dry_run
        Only give the plan.
    each
        Go on after failures, and give what became of each file.
    counter
        A callback that counts files.
    """

    sync: bool = False
    dry_run: bool = False
    each: bool = False
    counter: Any = DEFAULT_CALLBACK

    @classmethod
    def of(cls, options: dict[str, Any]) -> TransferOptions:
        """Take what is said about it from a verb's options.

        Raises
        ------
        InvalidRequestError
            For an ``on_error`` that is neither ``raise`` nor ``return``.
        """
        on_error = options.pop("on_error", "raise")
        if on_error not in {"raise", "return"}:
            raise InvalidRequestError(f"on_error is 'raise' or 'return', not {on_error!r}")
        return cls(
            sync=bool(options.pop("sync", False)),
            dry_run=bool(options.pop("dry_run", False)),
            each=on_error == "return",
            counter=options.pop("files_callback", DEFAULT_CALLBACK),
        )


async def send_each(
    fs: Any, sends: Sequence[Any], callback: Any, manner: TransferOptions
) -> dict[str, Exception | None]:
    """Send files, those of one unit together, and give what became of each by its path.

    Files of a unit that lacks a required one are not sent; all others are.
    """
    failed: dict[Location, Exception] = {}
    good = await _passing(fs, sends, failed)
    staged = await _sent_together(fs, good, callback, manner)

    async def arrive(item: Any) -> None:
        try:
            staged[item.location] = await fs._stage_counted(item, callback, manner.counter)  # noqa: SLF001
        except FAULTS as error:
            failed[item.location] = error

    left = [item for item in good if item.location not in staged]
    try:
        await concurrency.gather(map(arrive, left), fs.options.max_concurrency)
        if failed:
            good = [item for item in good if item.location in staged]
            good = await _passing(fs, good, failed)
            alone = staged.keys() - {item.location for item in good}
            await fs.discard([staged.pop(target) for target in alone])
        groups = [[staged[item.location] for item in group] for group in _units(good)]
        await _publish(fs, groups, failed)
    except BaseException as error:
        await asyncio.shield(fs.discard(list(staged.values()), error))
        raise
    return {item.location.path: failed.get(item.location) for item in sends}


async def _sent_together(
    fs: Any, sends: Sequence[Any], callback: Any, manner: TransferOptions
) -> dict[Location, Staged]:
    """Send by a route for many files those that go that way; whatever is wrong shows later."""
    callback.set_size(sum(max(item.size, 0) for item in sends))
    try:
        return await fs._sent_together(sends, {}, callback, manner.counter)  # type: ignore[no-any-return]  # noqa: SLF001
    except FAULTS:
        return {}


async def _passing(fs: Any, sends: Sequence[Any], failed: dict[Location, Exception]) -> list[Any]:
    """Give the files that may be sent; note of the others why not."""
    try:
        await _validate(fs, sends)
    except FAULTS:
        passing: list[Any] = []
        for group in _units(sends):
            try:
                await _validate(fs, group)
            except FAULTS as error:
                failed |= dict.fromkeys([item.location for item in group], error)
            else:
                passing += group
        return passing
    return list(sends)


async def _validate(fs: Any, sends: Sequence[Any]) -> None:
    await fs._validate(*[(item.location, item.options) for item in sends])  # noqa: SLF001


async def _publish(
    fs: Any, groups: Sequence[list[Staged]], failed: dict[Location, Exception]
) -> None:
    """Make files visible: all together, or unit by unit where that fails."""
    try:
        await fs.publish([item for group in groups for item in group])
    except FAULTS:
        for group in groups:
            try:
                await fs.publish(group)
            except FAULTS as error:
                failed |= dict.fromkeys([item.location for item in group], error)
                await fs.discard(group, error)


def _units(sends: Iterable[Any]) -> list[list[Any]]:
    """Group files by the unit that they belong to; a file of a dataset is alone."""
    groups: dict[Hashable, list[Any]] = {}
    for item in sends:
        groups.setdefault(_unit_of(item.location), []).append(item)
    return list(groups.values())


def _unit_of(place: Location) -> Hashable:
    if place.root is not Root.COLLECTIONS:
        return place
    return place.container, split_suffix("/".join(place.inner[1:]))[0]
