"""Models of requests and answers that only a server has."""

from __future__ import annotations

from synapsefs.wire.datasets.base import Model
from synapsefs.wire.datasets.requests import Name


class Organization(Model):
    """An organisation the caller belongs to."""

    name: str
    id: str | None = None


class Project(Model):
    """A project, by which entries can be searched."""

    id: str
    name: str


class EntryState(Model):
    """The state of one entry."""

    id: str
    status: str


class ProjectCreate(Model):
    """A new project."""

    name: Name


class WorkspaceUpdate(Model):
    """New name or description of a workspace; None leaves it."""

    name: Name | None = None
    description: str | None = None
