"""Roots that another version of synapsefs has made."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import uuid

import pytest

from synapsefs import SynapseFileSystem
from synapsefs.wire.datasets.constants import ENTRIES_PATH, LOGIN_PATH
from tests.support.running import environment


def change(root, *statements):
    """Make the catalogue of a root like one of another version."""
    connection = sqlite3.connect(root / "catalogue.sqlite3")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def serve(root):
    """Run the command until it refuses."""
    command = [sys.executable, "-m", "synapsefs", "serve", "--root", str(root), "--port", "0"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env=environment()
    )


async def test_a_root_of_a_newer_version_is_refused(client, start, tmp_path):
    file = await client.upload(b"kept")
    change(tmp_path / "root", "PRAGMA user_version = 99")
    with pytest.raises(OSError, match="version 99"):
        await start()
    fs = SynapseFileSystem(endpoint_url=(tmp_path / "root").as_uri(), skip_instance_cache=True)
    with pytest.raises(OSError, match="version 99"):
        await asyncio.to_thread(fs.ls, "collections")
    refused = await asyncio.to_thread(serve, tmp_path / "root")
    assert (refused.returncode, "version 99" in refused.stderr) == (1, True), refused
    assert "Traceback" not in refused.stderr
    assert (await client.raw("GET", file["file"]))[2] == b"kept"


async def test_a_root_of_the_first_version_is_taken_over(start, tmp_path):
    """Its drafts may have the number of another revision."""
    client = await start()
    login = await client.call("POST", LOGIN_PATH, json={"api_key": "key_test"})
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    body = {"name": "t", "content": "one"}
    made = await client.call("POST", ENTRIES_PATH, json=body, headers=headers, status=201)
    path = f"{ENTRIES_PATH}/{made['data_storage']['id']}"
    for publish in (False, False, True, False):
        body = {
            "revision_id": str(uuid.uuid4()),
            "base_revision_id": made["current_revision_id"],
            "content": "two",
            "publish": publish,
        }
        made = await client.call("PATCH", path, json=body, headers=headers)
    change(
        tmp_path / "root",
        "DROP INDEX ds_revisions_version",
        "CREATE INDEX ds_revisions_entry ON ds_revisions (entry_id, version)",
        "UPDATE ds_revisions SET version = 1 WHERE version > 0",
        "PRAGMA user_version = 0",
    )
    again = await start()
    listed = await again.call(
        "GET", f"{path}/revisions", params={"include_unpublished": "true"}, headers=headers
    )
    numbers = [(r["version"], r["published_at"] is None) for r in listed["revisions"]]
    assert numbers == [(4, True), (3, True), (2, True), (1, False), (0, False)]
