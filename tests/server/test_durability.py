"""What was acknowledged survives the end of the process, however sudden."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.support.sizing import sized

SERVER = """
import asyncio, os, sys
from pathlib import Path
from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings

{fault}

async def main():
    settings = ServerSettings(root=Path(sys.argv[1]), presign_threshold=2**40)
    running = await serve(settings)
    print(running.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def server_process(root: Path, fault: str = ""):
    """Run a server in a process of its own and kill it at the end; `fault` is code for it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = SERVER.replace("{fault}", fault)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, env=environment
    )
    try:
        yield process.stdout.readline().decode().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def content(number: int) -> bytes:
    return str(number).encode() * 5000


async def upload(session, url, number, acknowledged):
    form = aiohttp.FormData()
    form.add_field("file", content(number), filename=f"{number}.bin")
    async with session.post(f"{url}/data_files/", data=form) as response:
        if response.status == 201:
            acknowledged[number] = await response.json()


async def test_acknowledged_files_survive_a_kill(tmp_path):
    acknowledged = {}
    with server_process(tmp_path) as (url, process):
        async with aiohttp.ClientSession() as session:
            tasks = [
                asyncio.create_task(upload(session, url, number, acknowledged))
                for number in range(300)
            ]
            for done, task in enumerate(asyncio.as_completed(tasks)):
                with contextlib.suppress(aiohttp.ClientError):
                    await task
                if done == 40:
                    process.kill()
    with server_process(tmp_path) as (url, _):
        async with aiohttp.ClientSession() as session:
            for number, stored in acknowledged.items():
                body = {"checksums": [stored["checksum"]]}
                async with session.post(f"{url}/data_files/verify_checksums/", json=body) as got:
                    assert (await got.json())["existing_checksums"] == body["checksums"]
                path = stored["file"].partition("/_blob")[2]
                async with session.get(f"{url}/_blob{path}") as got:
                    assert await got.read() == content(number)


async def test_offset_never_exceeds_what_is_there(tmp_path):
    chunk = os.urandom(300_000)
    sent = 0
    with server_process(tmp_path) as (url, process):
        async with aiohttp.ClientSession() as session:
            path = f"{url}/chunked_upload/"
            with contextlib.suppress(aiohttp.ClientError):
                for number in range(100):
                    first = number * len(chunk)
                    last = first + len(chunk) - 1
                    headers = {"Content-Range": f"bytes {first}-{last}/{last + 1}"}
                    form = aiohttp.FormData()
                    form.add_field("file", chunk, filename="file")
                    if number == 10:
                        asyncio.get_running_loop().call_later(0.001, process.kill)
                    async with session.put(path, data=form, headers=headers) as response:
                        path, sent = (await response.json())["url"], first + len(chunk)
    with server_process(tmp_path) as (url, _):
        path = url + path[path.index("/chunked_upload") :]
        async with aiohttp.ClientSession() as session:
            async with session.get(path) as response:
                offset = (await response.json())["offset"]
            assert offset >= sent
            md5 = hashlib.md5(chunk * (offset // len(chunk))).hexdigest()
            async with session.post(path, json={"md5": md5}) as response:
                assert response.status == 200, await response.text()


DIES_AFTER_STORING = """
replace = os.replace
def replace_and_die(source, target):
    replace(source, target)
    if "objects" in str(target):
        os._exit(9)
os.replace = replace_and_die
"""


async def test_an_object_never_changes_after_a_kill(tmp_path, start):
    """The server dies when an upload is stored, and before it is known to be complete."""
    data = content(7)
    md5 = hashlib.md5(data).hexdigest()

    async def send(session, url, piece, first):
        last = first + len(piece) - 1
        headers = {"Content-Range": f"bytes {first}-{last}/{last + 1}"}
        form = aiohttp.FormData()
        form.add_field("file", piece, filename="file")
        async with session.put(url, data=form, headers=headers) as response:
            return response.status, await response.json()

    with server_process(tmp_path / "root", DIES_AFTER_STORING) as (url, _):
        async with aiohttp.ClientSession() as session:
            _, state = await send(session, f"{url}/chunked_upload/", data, 0)
            with pytest.raises(aiohttp.ClientError):
                await session.post(state["url"], json={"md5": md5})
    client = await start(tokens=())
    path = f"{client.url}/chunked_upload/{state['id']}/"
    other = await client.upload(data)
    assert (await send(client.session, path, b"more", len(data)))[0] == 400
    assert (await client.raw("GET", other["file"]))[2] == data
    done = await client.call("POST", path, json={"md5": md5})
    assert (await client.raw("GET", done["file"]))[2] == data


async def test_several_processes_serve_one_root(tmp_path):
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(server_process(tmp_path))[0] for _ in range(3)]
        acknowledged = {}
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(
                *(upload(session, urls[n % 3], n // 2, acknowledged) for n in range(60))
            )
            assert len(acknowledged) == 30
            for url in urls:
                async with session.get(f"{url}/v2/data-files/?per_page=200") as response:
                    assert len((await response.json())["data"]) == 30


@pytest.mark.slow
async def test_memory_stays_bounded(tmp_path):
    size = sized(200, 400) * 1024 * 1024

    async def body():
        for _ in range(size // 1_048_576):
            yield bytes(1_048_576)

    with server_process(tmp_path) as (url, process):
        async with aiohttp.ClientSession() as session:
            query = {"files": [{"filename": "a", "size": size}], "expiration": 60}
            target = f"{url}/data_files/presigned_upload/upload/"
            async with session.post(target, json=query) as response:
                put = (await response.json())["files"][0]["presigned_url"]
            async with session.put(put, data=body()) as response:
                assert response.status == 200
        assert peak_memory(process.pid) < 150 * 1024 * 1024
