"""Refusals of the datasets service."""

from __future__ import annotations

from synapsefs.server.problems import Problem, not_found

__all__ = ["conflict", "forbidden", "not_found", "unprocessable"]


def conflict(detail: str) -> Problem:
    """Return the refusal of what contradicts the present state."""
    return Problem(409, detail)


def forbidden(detail: str) -> Problem:
    """Return the refusal of what the caller may see but not change."""
    return Problem(403, detail)


def unprocessable(detail: str) -> Problem:
    """Return the refusal of a request that makes no sense."""
    return Problem(422, detail)
