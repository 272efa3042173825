"""What pages of other sites can make a browser send is refused, and nothing stored runs in it."""

from __future__ import annotations

import json
import socket

import pytest
from aiohttp import ClientSession, web

from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings
from synapsefs.wire.datasets.constants import LOGIN_PATH

EVIL = "https://evil.example"
COLLECTION = {
    "name": "c",
    "category": "data",
    "file_specifications": [{"name": "data_1", "file_type": "data"}],
}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
async def test_pages_of_other_origins_are_refused(victim, headers):
    for method, path in (
        ("GET", "/health/"),
        ("GET", "/data_collections/"),
        ("POST", "/v2/data-collections/"),
        ("POST", "/users/login/"),
        ("POST", LOGIN_PATH),
    ):
        body = {"json": COLLECTION} if method == "POST" else {}
        status, _ = await victim.send(
            method, path, headers={**victim.collections, **headers}, **body
        )
        assert status == 403, path
    _, body = await victim.send("GET", "/data_collections/", headers=victim.collections)
    assert json.loads(body)["count"] == 0


async def test_its_own_origin_is_served(victim):
    for headers in (
        {"Origin": victim.url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ):
        given = {**victim.collections, **headers}
        assert (await victim.send("GET", "/data_collections/", headers=given))[0] == 200


async def test_a_link_to_an_object_can_be_followed(victim):
    url = await victim.store(b"read", "a.txt")
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert await victim.send("GET", url, headers=followed) == (200, b"read")
    for changed in ({"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Dest": "iframe"}, {"Origin": EVIL}):
        assert (await victim.send("GET", url, headers=followed | changed))[0] == 403


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("evil.example", False),
        ("evil.example:8400", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("[2001:db8::1]", False),
        ("localhost", True),
        ("LOCALHOST:1234", True),
        ("127.0.0.1:8400", True),
        ("[::1]:8400", True),
        ("data.example.org", True),
    ],
)
async def test_names_that_the_server_answers_to(attack, host, served):
    victim = await attack(allowed_hosts=("data.example.org",))
    for path in ("/health/", "/data_collections/"):
        headers = {**victim.collections, "Host": host}
        assert (await victim.send("GET", path, headers=headers))[0] == (200 if served else 421)


async def test_names_of_a_server_that_listens_everywhere(tmp_path):
    """Its addresses, and the name of the machine: no page can point those at it."""
    settings = ServerSettings(root=tmp_path, tokens=("t",), api_keys=("k",))
    running = await serve(settings, "0.0.0.0")
    try:
        url = running.url.replace("0.0.0.0", "127.0.0.1") + "/health/"
        async with ClientSession() as session:
            for host, status in (
                ("192.0.2.7:80", 200),
                (socket.gethostname(), 200),
                ("evil.example", 421),
            ):
                async with session.get(url, headers={"Host": host}) as answer:
                    assert answer.status == status, host
    finally:
        await running.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_bodies_that_need_no_preflight_are_refused(victim, kind):
    """Other types than JSON are what a browser sends anywhere without asking."""
    headers = {} if kind is None else {"Content-Type": kind}
    data = json.dumps(COLLECTION).encode()
    for path in ("/v2/data-collections/", "/data_units/", "/v2/tokens/", "/users/login/"):
        given = {**victim.collections, **headers}
        skipped = ["Content-Type"] if kind is None else []
        status, _ = await victim.send(
            "POST", path, data=data, headers=given, skip_auto_headers=skipped
        )
        assert status == 415, path
    status, _ = await victim.send("POST", LOGIN_PATH, data=b'{"api_key": "x"}', headers=headers)
    assert status == 415


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.xml", "plain"])
async def test_nothing_stored_runs_in_a_browser(victim, name):
    url = await victim.store(b"<script>alert(1)</script>", name)
    async with victim.session.get(url) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["Content-Disposition"].startswith("attachment;")
    assert headers["Content-Disposition"].endswith(f'filename="{name}"')


@pytest.mark.parametrize(
    "location",
    ["javascript:alert(1)", " JavaScript:alert(1)", "java\nscript:x", "\x01data:text/html,x"],
)
async def test_links_lead_to_addresses(victim, location):
    place = {"storage_type": "link", "content_type": "text", "location": location}
    body = {"name": "l", "existing_location": place}
    status, _ = await victim.send(
        "POST", "/v0.1/data-storage/data-entries", json=body, headers=victim.datasets()
    )
    assert status == 422


@pytest.fixture
async def site():
    """A website, one folder of which is a bucket; gives its URL and the paths asked for."""
    asked = []

    async def get(request):
        asked.append(request.raw_path)
        return web.Response(body=b"object")

    app = web.Application()
    app.router.add_get("/{path:.*}", get)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("a.txt", True),
        ("deep/a b.txt", True),
        ("../private/x", False),
        ("%2e%2e/private/x", False),
        ("%2E./private/x", False),
        ("a/%252e%252e/%252e%252e/private/x", False),
        ("..%2fprivate/x", False),
        ("..\\private\\x", False),
        ("%2e%2e%5cprivate/x", False),
        ("a.txt?as=admin", False),
        ("a.txt#x", False),
    ],
)
async def test_keys_of_a_bucket_over_http_stay_inside(attack, site, key, inside):
    url, asked = site
    victim = await attack(buckets={"b": f"{url}/pub"})
    place = {"storage_type": "gcs", "content_type": "file", "location": key}
    entry = {"name": "x", "existing_location": {**place, "metadata": {"bucket_name": "b"}}}
    status, _ = await victim.send(
        "POST", "/v0.1/data-storage/data-entries", json=entry, headers=victim.datasets()
    )
    assert status == (201 if inside else 422)
    assert bool(asked) == inside
