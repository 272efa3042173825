"""Requests for what is not theirs: refused clearly, and nothing is told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import aiohttp
import pytest

from synapsefs.wire.datasets.constants import DATASETS_PATH, ENTRIES_PATH, SEARCH_PATH

# --- paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/_blob/../secret",
        "/_blob/%2e%2e/secret",
        "/_blob/%2e%2e%2fsecret",
        "/_blob/" + "0" * 64 + "/..%2f..%2fsecret",
        "/_blob/..%2f" + "0" * 61 + "/x",
        "/_blob/uploads/..%2f..%2fsecret/1",
        "/_blob/uploads/%2e%2e/1",
        "/_blob/uploads/x/-1",
        "/_source/x/../../secret",
        "/_source/x/..%2f..%2fsecret",
        "//secret",
        "/chunked_upload/..%2f..%2fsecret/",
        "/chunked_upload/%00/",
        f"{ENTRIES_PATH}/..%2f..%2fsecret",
        f"{DATASETS_PATH}/%2e%2e",
        "/data_units/%2e%2e/",
        "/data_units/1%00/",
        "/data_units/\u0661/",
        "/data_units/" + "9" * 5000 + "/",
    ],
)
async def test_no_path_leaves_the_store(victim, path):
    for method in ("GET", "PUT", "POST", "DELETE"):
        headers = {**victim.collections, **victim.datasets()}
        status, body = await victim.send(method, quote(path, safe="/%"), headers=headers)
        assert status in {400, 403, 404, 405, 411, 422}
        assert b"token" not in body


async def test_names_of_files_are_only_names(victim, tmp_path):
    names = ["../../evil", "/etc/passwd", "..\\..\\evil", "a\0b", "CON", "\r\nX-Evil: 1", "." * 300]
    for name in names:
        form = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--b--'
        )
        quoted = name.replace("\r", "%0D").replace("\n", "%0A").encode()
        headers = {**victim.collections, "Content-Type": "multipart/form-data; boundary=b"}
        status, body = await victim.send(
            "POST", "/data_files/", data=form % (quoted, b"payload"), headers=headers
        )
        assert status == 201
        url = json.loads(body)["file"]
        status, body = await victim.send("GET", url)
        assert (status, body) == (200, b"payload")
    stored = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert not any("evil" in name or "passwd" in name for name in stored)
    assert len([p for p in (tmp_path / "root/objects").rglob("*") if p.is_file()]) <= 1


# --- signatures ----------------------------------------------------------------------------


def changed(url, **changes):
    """Change parameters of a URL's query; None takes one away."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


async def test_signatures_cannot_be_bent(victim):
    mine, other = await victim.store(b"mine", "a.txt"), await victim.store(b"other", "b.txt")
    signature = dict(parse_qsl(urlsplit(mine).query))["signature"]
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    bent = [
        changed(mine, signature=flipped),
        changed(mine, signature=signature[:-1]),
        changed(mine, signature=signature + "="),
        changed(mine, signature=""),
        changed(mine, signature=None),
        changed(mine, expires="9999999999"),
        changed(mine, expires="9" * 5000),
        changed(mine, expires="-1"),
        changed(mine, expires=None),
        changed(mine, disposition="attachment"),
        changed(mine, whole="1"),
        urlsplit(other)._replace(query=urlsplit(mine).query).geturl(),
        urlsplit(mine)._replace(path=urlsplit(mine).path + "x").geturl(),
    ]
    for url in bent:
        status, body = await victim.send("GET", url)
        assert status == 403, url
        assert b"mine" not in body
        assert b"other" not in body
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert (await victim.send(method, mine, data=b"evil"))[0] == 403
    assert await victim.send("GET", mine) == (200, b"mine")
    assert (await victim.send("GET", changed(mine, unknown="x"))) == (200, b"mine")


async def test_a_signature_of_another_server_is_worth_nothing(victim, attack, tmp_path):
    url = await victim.store(b"mine")
    (tmp_path / "root/secret").unlink()
    elsewhere = await attack()
    bent = url.replace(victim.url, elsewhere.url)
    assert (await elsewhere.send("GET", bent))[0] == 403
    headers = {"Authorization": f"Bearer {victim.bearers[0]}"}
    assert (await elsewhere.send("GET", f"{ENTRIES_PATH}/x", headers=headers))[0] == 401


async def test_a_part_cannot_be_replaced_once_it_is_complete(victim):
    key = await victim.entry(name="a.bin", file_path="/home/u/a.bin")
    data, evil = b"good" * 100, b"evil" * 100
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    route = f"{ENTRIES_PATH}/{key}/multipart-upload"
    begun = await victim.json(
        "POST", f"{route}/initiate", {"part_hashes": [md5]}, headers=victim.datasets()
    )
    url = begun["part_urls"][0]
    assert (await victim.send("PUT", url, data=evil, headers={"Content-MD5": md5}))[0] == 400
    assert (await victim.send("PUT", url, data=data, headers={"Content-MD5": "no"}))[0] == 400
    assert (await victim.send("GET", url))[0] == 403
    assert (await victim.send("PUT", url, data=data, headers={"Content-MD5": md5}))[0] == 200
    done = {"upload_id": begun["upload_id"], "parts": [{"part_number": 1, "checksum": md5}]}
    done["parts"][0]["etag"] = hashlib.md5(data).hexdigest()
    await victim.json("POST", f"{route}/complete", done, status=200, headers=victim.datasets())
    await victim.send("PUT", url, data=evil)
    patch = {"status": "active"}
    await victim.json(
        "PATCH", f"{ENTRIES_PATH}/{key}", patch, status=200, headers=victim.datasets()
    )
    _, body = await victim.send("GET", f"{ENTRIES_PATH}/{key}", headers=victim.datasets())
    location = json.loads(body)["storage_locations"][0]["storage_config"]["signed_url"]
    assert await victim.send("GET", location) == (200, data)


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", ".", "a" * 7000, "é.é", "eyJzdWIiOiAibWUifQ.x", "null", "0.0", "Bearer"],
)
async def test_forged_bearer_tokens(victim, token):
    headers = {"Authorization": f"Bearer {token}".rstrip()}
    assert (await victim.send("GET", f"{ENTRIES_PATH}/x", headers=headers))[0] == 401


async def test_an_altered_bearer_token(victim):
    payload, _, signature = victim.bearers[0].partition(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["exp"] += 1e9
    longer = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    headers = {"Authorization": f"Bearer {longer}.{signature}"}
    assert (await victim.send("GET", f"{ENTRIES_PATH}/x", headers=headers))[0] == 401


async def test_an_old_bearer_token(attack):
    victim = await attack(bearer_lifetime=-1)
    assert (await victim.send("GET", f"{ENTRIES_PATH}/x", headers=victim.datasets()))[0] == 401


# --- what is another's ---------------------------------------------------------------------


async def test_what_is_anothers_does_not_exist(victim):
    key = await victim.entry(name="mine", content="private words")
    file = await victim.entry(name="a.bin", file_path="/home/u/a.bin")
    nowhere = "00000000-0000-4000-8000-000000000000"

    async def tries(target):
        """Say what the second user is told about an entry, the entry's id left out."""
        headers = victim.datasets(1)
        route = f"{ENTRIES_PATH}/{target}"
        md5 = base64.b64encode(bytes(16)).decode()
        answers = [
            await victim.send("GET", route, headers=headers),
            await victim.send("GET", f"{route}/status", headers=headers),
            await victim.send("GET", f"{route}/revisions", headers=headers),
            await victim.send("GET", f"{route}?version=0", headers=headers),
            await victim.send("DELETE", route, headers=headers),
            await victim.send("PATCH", route, headers=headers, json={"status": "disabled"}),
            await victim.send("PATCH", route, headers=headers, json={"share_status": "public"}),
            await victim.send(
                "POST",
                f"{route}/multipart-upload/initiate",
                headers=headers,
                json={"part_hashes": [md5]},
            ),
        ]
        return [(status, body.replace(target.encode(), b"ID")) for status, body in answers]

    absent = await tries(nowhere)
    assert await tries(key) == absent
    assert await tries(file) == absent
    assert {status for status, _ in absent} <= {403, 404}
    _, found = await victim.send(
        "POST", SEARCH_PATH, headers=victim.datasets(1), json={"text_query": "private"}
    )
    assert json.loads(found) == []
    _, body = await victim.send("GET", f"{ENTRIES_PATH}/{key}", headers=victim.datasets())
    assert json.loads(body)["data_storage"]["content"] == "private words"


async def test_another_tenant_sees_nothing(victim, attack):
    """Two servers of two tenants over one directory."""
    headers = victim.collections
    made = await victim.json(
        "POST",
        "/v2/data-collections/",
        {
            "name": "secret plans",
            "category": "data",
            "file_specifications": [{"name": "data_1", "file_type": "data", "is_required": True}],
        },
        status=201,
        headers=headers,
    )
    collection = made["data"]["id"]
    await victim.store(b"plans")
    other = await attack(tenant="rival", tokens=("syn_rival",))
    theirs = {"Synapse-Access-Token": "syn_rival"}
    nowhere = collection + 1000
    for path in ("/data_collections/{}/", "/v2/data-collections/{}/"):
        for method in ("GET", "DELETE", "PATCH"):
            one = await other.send(method, path.format(collection), headers=theirs, json={})
            two = await other.send(method, path.format(nowhere), headers=theirs, json={})
            assert one[0] == two[0] in {404, 405}
    for path in ("/data_collections/", "/data_units/", "/v2/data-collections/", "/v2/data-files/"):
        status, body = await other.send("GET", path, headers=theirs)
        assert status == 200
        assert b"plans" not in body
        assert json.loads(body).get("count", 0) == 0
    unit = {"data_collection": collection, "files": {"data_1": "x"}}
    assert (await other.send("POST", "/data_units/", headers=theirs, json=[unit]))[0] in {400, 404}
    crossed = {**headers, "Synapse-Tenant": "rival"}
    assert (await victim.send("GET", "/data_collections/", headers=crossed))[0] == 403
    assert (await other.send("GET", "/data_collections/", headers=headers))[0] == 401


async def test_an_upload_is_its_users(victim):
    other = await victim.json(
        "POST", "/v2/tokens/", {"description": "x"}, status=201, headers=victim.collections
    )
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"abc"), filename="a")
    _, body = await victim.send(
        "PUT",
        "/chunked_upload/",
        data=form,
        headers={**victim.collections, "Content-Range": "bytes 0-2/6"},
    )
    route = f"/chunked_upload/{json.loads(body)['id']}/"
    headers = {"Synapse-Access-Token": other["data"]["token"]}
    assert (await victim.send("GET", route, headers=headers))[0] == 404
    md5 = hashlib.md5(b"abc").hexdigest()
    assert (await victim.send("POST", route, headers=headers, json={"md5": md5}))[0] == 404
