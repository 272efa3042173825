"""Credentials end when they should: taken back, rotated, expired, or another tenant's."""

from __future__ import annotations

import hashlib

import pytest

from synapsefs.wire.datasets.constants import ENTRIES_PATH, LOGIN_PATH
from tests.server.conftest import API_KEY, TENANT, TOKEN


async def allowed(client, token, tenant=None):
    headers = {"Synapse-Access-Token": token} | ({"Synapse-Tenant": tenant} if tenant else {})
    status, _, _ = await client.raw("GET", f"{client.url}/data_collections/", headers=headers)
    assert status in {200, 401, 403}
    return status == 200


async def make(client, token=TOKEN, **body):
    headers = {"Synapse-Access-Token": token}
    path, given = "/v2/tokens/", {"description": "ci", **body}
    return (await client.call("POST", path, json=given, headers=headers, status=201))["data"]


async def test_tokens_are_listed_and_taken_back(client):
    one, two = await make(client), await make(client, description="other")
    listed = (await client.call("GET", "/v2/tokens/"))["data"]
    assert [(item["id"], item["description"]) for item in listed] == [
        (one["id"], "ci"),
        (two["id"], "other"),
    ]
    assert not [item for item in listed if "token" in item]
    assert listed[0]["expires_at"] > listed[0]["created_at"]
    await client.call("DELETE", f"/v2/tokens/{one['id']}/", status=204)
    assert not await allowed(client, one["token"])
    assert await allowed(client, two["token"])
    await client.call("DELETE", f"/v2/tokens/{one['id']}/", status=404)
    assert len((await client.call("GET", "/v2/tokens/"))["data"]) == 1


async def test_tokens_expire(start):
    client = await start(token_lifetime=0.0)
    assert not await allowed(client, (await make(client))["token"])
    await client.call("POST", "/v2/tokens/", json={"expiration": 1}, status=400)


async def test_a_token_is_good_for_its_tenant(start):
    acme, globex = await start(), await start(tenant="globex")
    token = (await make(acme))["token"]
    assert await allowed(acme, token)
    assert not await allowed(globex, token)
    assert (await globex.call("GET", "/v2/tokens/"))["data"] == []


async def test_tokens_end_with_the_one_that_made_them(start):
    before = await start(tokens=("syn_old", TOKEN))
    made = (await make(before, "syn_old"))["token"]
    grandchild = (await make(before, made))["token"]
    other = (await make(before))["token"]
    after = await start()
    assert not await allowed(after, made)
    assert not await allowed(after, grandchild)
    assert await allowed(after, other)


async def test_what_was_made_while_everybody_came_in_opens_nothing(start):
    before = await start(tokens=(), api_keys=())
    made = (await make(before, "anything"))["token"]
    bearer = (await before.call("POST", LOGIN_PATH, json={"api_key": "any"}))["access_token"]
    after = await start()
    assert not await allowed(after, made)
    headers = {"Authorization": f"Bearer {bearer}"}
    await after.call("GET", f"{ENTRIES_PATH}/x", headers=headers, status=401)


@pytest.mark.parametrize("changed", [{"api_keys": ("key_new",)}, {"tenant": "globex"}])
async def test_bearers_end_with_their_key(start, changed):
    before = await start()
    bearer = (await before.call("POST", LOGIN_PATH, json={"api_key": API_KEY}))["access_token"]
    headers = {"Authorization": f"Bearer {bearer}"}
    await (await start()).call("GET", f"{ENTRIES_PATH}/x", headers=headers, status=404)
    await (await start(**changed)).call("GET", f"{ENTRIES_PATH}/x", headers=headers, status=401)


async def test_a_token_that_was_made_logs_in(client):
    made = (await make(client))["token"]
    body = {"email": "me@example.org", "password": made}
    assert (await client.call("POST", "/users/login/", json=body))["token"] == made
    assert await allowed(client, made, TENANT)


async def test_ids_of_users_tell_nothing_about_their_keys(start):
    """No digest of a key is shown, so that no dictionary of keys finds it."""
    client = await start()
    bearer = (await client.call("POST", LOGIN_PATH, json={"api_key": API_KEY}))["access_token"]
    headers = {"Authorization": f"Bearer {bearer}"}
    entry = {"name": "x", "content": "y"}
    made = await client.call("POST", ENTRIES_PATH, json=entry, headers=headers, status=201)
    shown = str(made) + str(await client.call("GET", "/v2/users/me/"))
    for secret in (API_KEY, TOKEN):
        for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5):
            assert digest(secret.encode()).hexdigest()[:12] not in shown
