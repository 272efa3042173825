"""Files that come inside a form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synapsefs.server.blobs import BLOBS
from synapsefs.server.collections.units import base_name
from synapsefs.server.digests import Blob
from synapsefs.server.formdata import form_parts
from synapsefs.server.objects import check_name
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(slots=True)
class Form:
    """What a form held.

    Parameters
    ----------
    blob
        The part ``file``, stored as an object, or None when there was none.
    filename
        Its name.
    fields
        The plain fields.
    """

    blob: Blob | None = None
    filename: str = "file"
    fields: dict[str, str] = field(default_factory=dict)


async def receive_form(request: web.Request) -> Form:
    """Read a form, storing its file.

    Raises
    ------
    Problem
        400, when the form is not complete; 413, when the name of its file is too long.
    """
    form = Form()
    blobs, limit = request.app[BLOBS], request.app[SETTINGS].max_file_size
    async for part in form_parts(request):
        if part.name == "file":
            form.filename = base_name(part.filename or "") or "file"
            check_name(form.filename)
            form.blob = await blobs.commit(await blobs.receive(part.content, limit=limit))
        elif part.filename is None:
            form.fields[part.name] = await part.text()
    return form
