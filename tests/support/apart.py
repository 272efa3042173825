"""Instances in one process that share nothing, as if in several processes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from synapsefs.server.embedded import embedded

_numbers = itertools.count()


def apart(options: dict[str, Any]) -> dict[str, Any]:
    """Give options for the same server under another host name, a new one each time.

    Instances of one process with the same endpoint notify each other of changes.
    """
    url, more = options["endpoint_url"], {}
    if url.startswith("file:"):
        server = embedded(Path(unquote(urlsplit(url).path)))
        url = server.url
        more = {"token": server.token, "datasets_token": server.api_key}
    number = next(_numbers)
    name = "".join(
        letter.upper() if number >> place & 1 else letter
        for place, letter in enumerate("localhost")
    )
    return {**options, **more, "endpoint_url": url.replace("127.0.0.1", name)}
