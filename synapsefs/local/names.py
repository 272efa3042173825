"""Which names that come from elsewhere may become names of local files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from synapsefs.errors import InvalidPathError

_WINDOWS = os.name == "nt"
_DEVICES = r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])"
_DEVICE = re.compile(_DEVICES + r"[ .:]*$")
_DEVICE_OR_SUFFIX = re.compile(_DEVICES + r" *(\.|:|$)")
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def escaping(name: str) -> str | None:
    """Give the rule that one name breaks; None where every system takes it for a plain one.

    Others could lead out of their directory, or to something that is no file.
    """
    if name in {"", ".", ".."}:
        return "is no name" if name else "holds an empty name"
    if "/" in name or "\\" in name:
        return "holds a path separator"
    if _CONTROL.search(name):
        return "holds control characters"
    if _DRIVE.search(name):
        return "begins with a drive letter"
    if _DEVICE.match(name):
        return "is the name of a device"
    return None


def refused_here(name: str, *, windows: bool = _WINDOWS) -> str | None:
    """Say why this system would not take a name for a plain one; None when it does.

    POSIX takes all but ``/`` and NUL for plain characters, and knows no devices by name.
    """
    if windows:
        rule = escaping(name)
        if rule is None and _DEVICE_OR_SUFFIX.match(name):
            rule = "is the name of a device"
        if rule is None and re.search(r'[<>:"|?*]|[ .]$', name):
            rule = "holds what this system does not take in a name"
        return rule
    if name in {"", ".", ".."} or "/" in name:
        return escaping(name)
    return "holds a NUL character" if "\0" in name else None


def require_inside(root: str, targets: Sequence[str]) -> None:
    """Refuse local paths, made of names from elsewhere, that do not lie at or below a directory.

    Raises
    ------
    InvalidPathError
        Naming the first such path and the rule.
    """
    for target in targets:
        inside = target == root or target.startswith(f"{root}/")
        below = target.removeprefix(root)
        names = below.split("/")[1:] if inside else []
        broken = (rule for name in names if (rule := refused_here(name)))
        rule = next(broken, None) if inside else "lies outside of it"
        if rule is not None:
            shown = ascii(below)[1:-1]
            raise InvalidPathError(f"cannot be a local file: {shown!r} {rule}", ascii(root)[1:-1])
