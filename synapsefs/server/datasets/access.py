"""Who may see and who may change what.

An entry is its creator's. Others see it when it is public, or shared with them
or with their organisation; what somebody cannot see does not exist for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.wire.datasets.requests import PermittedAccessors

VISIBLE: Final = """(
    e.user_id = :user OR e.share_status = 'public'
    OR e.share_status = 'shared' AND EXISTS (
        SELECT 1 FROM json_each(e.accessors)
        WHERE value IN ('user:' || :user, 'user:' || :credential, 'org:' || :organization)
    )
)"""
"""SQL condition on an entry ``e``; takes the parameters of `Caller.parameters`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Parameters
    ----------
    user
        Id of the user, which is also what entries are shared with.
    organization
        Name of the user's organisation.
    credential
        Id of the user by the API key alone, which entries may be shared with as well.
    """

    user: str
    organization: str
    credential: str

    def parameters(self, **more: object) -> dict[str, object]:
        """Named SQL parameters for `VISIBLE`, and `more`."""
        return {
            "user": self.user,
            "organization": self.organization,
            "credential": self.credential,
            **more,
        }

    def owns(self, row: sqlite3.Row) -> bool:
        """Whether the caller may change the entry or dataset `row`."""
        return bool(row["user_id"] == self.user)


def flatten(accessors: PermittedAccessors) -> list[str]:
    """Accessors in the form the catalogue keeps them.

    Parameters
    ----------
    accessors
        Users and organisations as the client named them.

    Returns
    -------
    list of str
        ``user:<name>`` and ``org:<name>``.
    """
    users = [f"user:{user}" for user in accessors.users or ()]
    return users + [f"org:{organization}" for organization in accessors.organizations or ()]
