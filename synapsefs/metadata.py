"""What metadata may be, in either service: a mapping that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def metadata_problem(metadata: Any, reserved: str = "") -> str:
    """Say what is wrong with metadata, as in "metadata that …"; nothing where all is well.

    Parameters
    ----------
    metadata
        What was given.
    reserved
        The key that this package keeps for itself.
    """
    if not isinstance(metadata, Mapping):
        return "is no mapping"
    for name in metadata:
        if not isinstance(name, str):
            return f"has the key {name!r}, which is no text"
        if name == reserved:
            return f"has the key {name!r}, which is reserved as this package's own"
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON: {error}"
    return ""
