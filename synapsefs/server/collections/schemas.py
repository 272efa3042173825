"""Second generation: what file specifications a collection may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synapsefs.server.bodies import answer_data
from synapsefs.server.problems import invalid

if TYPE_CHECKING:
    from aiohttp import web

CATEGORIES = ("image", "video", "audio", "text", "pcd", "data")
"""Categories of collections, and equally the file types of specifications."""

FUNCTION_TYPES = ("main", "sub", "meta")

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "video": ("mp4", "avi", "mov", "mkv", "webm", "flv", "wmv"),
    "image": ("jpg", "jpeg", "png"),
    "pcd": ("pcd",),
    "text": ("txt", "html"),
    "audio": ("mp3", "wav"),
    "data": ("xml", "bin", "json", "fbx"),
}
"""Usual extensions of a file type; a rule only where a specification lists its own."""

_RULES = {
    "naming": {"pattern": "{spec_key}_{index}"},
    "unique_names": True,
    "primary": {"min": 1, "max": 1},
    "main": {"min": 1},
}


async def get_specifications(request: web.Request) -> web.Response:
    """Answer ``GET v2/schemas/file-specifications/``."""
    asked = request.query.get("category")
    if asked and asked not in CATEGORIES:
        raise invalid("category", "Unknown category.")
    shown = [asked] if asked else list(CATEGORIES)
    return answer_data(
        {
            "categories": {category: _category(category) for category in shown},
            "file_types": {kind: {"extensions": list(EXTENSIONS[kind])} for kind in CATEGORIES},
            "function_types": list(FUNCTION_TYPES),
            "validation_rules": _RULES,
            "payload_schema": {"required_fields": ["name", "category", "file_specifications"]},
        }
    )


def setup(app: web.Application) -> None:
    """Register the route."""
    app.router.add_route("GET", "/v2/schemas/file-specifications/", get_specifications)


def _category(category: str) -> dict[str, Any]:
    main = _specification(category, function="main", main=True)
    meta = _specification("data", function="meta", main=False)
    return {
        "file_specifications": {category: main, f"{category}_meta": meta, "json_meta": meta},
        "subsets": {},
    }


def _specification(file_type: str, *, function: str, main: bool) -> dict[str, Any]:
    return {
        "file_type": file_type,
        "extensions": list(EXTENSIONS[file_type]),
        "is_sequential": False,
        "is_required": main,
        "is_primary": main,
        "function_type": function,
    }
