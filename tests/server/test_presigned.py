"""Presigned uploads."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from synapsefs.server import housekeeping

SHA1 = hashlib.sha1


async def presign(client, *sizes, **more):
    files = [{"filename": f"f{i}.bin", "size": size} | more for i, size in enumerate(sizes)]
    body = {"files": files, "expiration": 60}
    return await client.call("POST", "/data_files/presigned_upload/upload/", json=body)


async def confirm(client, *files):
    return await client.call(
        "POST", "/data_files/presigned_upload/confirm_upload/", json={"files": list(files)}
    )


def entry(target, data, **more):
    return {
        "file_key": target["file_key"],
        "checksum": SHA1(data).hexdigest(),
        "size": len(data),
        **more,
    }


async def test_single(client):
    data = b"content"
    target = (await presign(client, len(data)))["files"][0]
    status, headers, _ = await client.raw("PUT", target["presigned_url"], data=data)
    assert (status, headers["ETag"]) == (200, f'"{hashlib.md5(data).hexdigest()}"')
    first = await confirm(client, entry(target, data))
    again = await confirm(client, entry(target, data))
    assert first == again
    assert first["results"][0]["created"]
    wrong = await confirm(client, entry(target, data, size=1))
    assert not wrong["results"][0]["success"]


async def test_put_may_be_repeated(client):
    target = (await presign(client, 3))["files"][0]
    for data in (b"one", b"two"):
        assert (await client.raw("PUT", target["presigned_url"], data=data))[0] == 200
    assert not (await confirm(client, entry(target, b"one")))["results"][0]["success"]
    assert (await confirm(client, entry(target, b"two")))["results"][0]["success"]


async def test_failures_are_per_item(client):
    targets = (await presign(client, 3, 3, 3))["files"]
    for target in targets[:2]:
        await client.raw("PUT", target["presigned_url"], data=b"abc")
    answer = await confirm(
        client,
        entry(targets[0], b"abc"),
        entry(targets[1], b"xyz"),
        entry(targets[2], b"abc"),
        entry({"file_key": "unknown"}, b"abc"),
    )
    assert [r["success"] for r in answer["results"]] == [True, False, False, False]
    assert all(r["error"] for r in answer["results"][1:])
    assert (answer["created_count"], answer["failed_count"]) == (1, 3)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
async def test_any_checksum(client, algorithm):
    target = (await presign(client, 0))["files"][0]
    await client.raw("PUT", target["presigned_url"], data=b"")
    checksum = hashlib.new(algorithm, b"").hexdigest()
    answer = await confirm(client, entry(target, b"", checksum=checksum))
    assert answer["results"][0]["success"]


async def test_content_md5(client):
    url = (await presign(client, 3))["files"][0]["presigned_url"]
    right = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    status, _, body = await client.raw("PUT", url, data=b"abd", headers={"Content-MD5": right})
    assert status == 400
    assert b"<Code>BadDigest</Code>" in body
    status, _, body = await client.raw("PUT", url, data=b"abc", headers={"Content-MD5": "?"})
    assert b"<Code>InvalidDigest</Code>" in body
    assert (await client.raw("PUT", url, data=b"abc", headers={"Content-MD5": right}))[0] == 200


async def test_multipart_in_any_order(start, tmp_path):
    client = await start(presign_threshold=10, presign_part_size=4)
    data = b"0123456789abc"
    target = (await presign(client, len(data)))["files"][0]
    multipart = target["multipart"]
    assert target["presigned_url"] is None
    assert len(multipart["parts"]) == 4

    async def put(part):
        start = (part["part_number"] - 1) * 4
        url, piece = part["presigned_url"], data[start : start + 4]
        _, headers, _ = await client.raw("PUT", url, data=piece)
        return {"part_number": part["part_number"], "etag": headers["ETag"]}

    early = await confirm(client, entry(target, data))
    assert not early["results"][0]["success"]
    parts = await asyncio.gather(*map(put, reversed(multipart["parts"])))
    done = {"upload_id": multipart["upload_id"], "parts": parts}
    wrong = {**done, "parts": [{**parts[0], "etag": '"x"'}, *parts[1:]]}
    refused = await confirm(client, entry(target, data, multipart=wrong))
    assert not refused["results"][0]["success"]
    answer = await confirm(client, entry(target, data, multipart=done))
    assert answer["results"][0]["success"], answer
    assert answer == await confirm(client, entry(target, data, multipart=done))
    assert not list((tmp_path / "root/uploads").iterdir())
    assert not list((tmp_path / "root/staging").iterdir())


async def test_part_url_is_good_for_put_only(client):
    url = (await presign(client, 3))["files"][0]["presigned_url"]
    for method in ("GET", "HEAD", "POST"):
        assert (await client.raw(method, url))[0] == 403
    changed = url.replace("whole=1&", "")
    assert (await client.raw("PUT", changed, data=b"abc"))[0] == 403


async def test_second_generation_refuses_empty_files(client):
    collection = await client.collection()
    path = f"/v2/data-collections/{collection}/upload-urls/"
    body = {"files": [{"filename": "a", "size": 0}]}
    await client.call("POST", path, json=body, status=400)
    await client.call("POST", "/v2/data-collections/99/upload-urls/", json=body, status=400)
    good = {"files": [{"filename": "a", "size": 1}]}
    await client.call("POST", "/v2/data-collections/99/upload-urls/", json=good, status=404)


async def test_strict_binds_the_content_type(start):
    client = await start(strict=True)
    url = (await presign(client, 3, content_type="image/png"))["files"][0]["presigned_url"]
    for kind, status in (("text/plain", 403), ("image/png", 200)):
        headers = {"Content-Type": kind}
        assert (await client.raw("PUT", url, data=b"abc", headers=headers))[0] == status


async def test_strict_wants_a_length(start):
    client = await start(strict=True)
    url = (await presign(client, 3, content_type="image/png"))["files"][0]["presigned_url"]

    async def body():
        yield b"abc"

    headers = {"Content-Type": "image/png"}
    status, _, text = await client.raw("PUT", url, data=body(), headers=headers)
    assert status == 411
    assert b"<Code>MissingContentLength</Code>" in text


async def multipart(client, data):
    """Upload a file in parts; give its confirmation."""
    target = (await presign(client, len(data)))["files"][0]
    size, sent = target["multipart"]["part_size"], []
    for number, part in enumerate(target["multipart"]["parts"]):
        piece = data[number * size : (number + 1) * size]
        _, headers, _ = await client.raw("PUT", part["presigned_url"], data=piece)
        sent.append({"part_number": number + 1, "etag": headers["ETag"]})
    named = {"upload_id": target["multipart"]["upload_id"], "parts": sent}
    return entry(target, data, multipart=named)


async def test_simultaneous_confirmations_agree(start):
    client = await start(presign_threshold=10, presign_part_size=200_000)
    for attempt in range(5):
        file = await multipart(client, b"%d" % attempt * 1_000_000)
        answers = await asyncio.gather(*(confirm(client, file) for _ in range(4)))
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["results"][0]["success"], answers[0]
        twice = await confirm(client, file, file)
        assert twice["results"] == answers[0]["results"] * 2


async def test_confirming_parts_names_them(start):
    client = await start(presign_threshold=10, presign_part_size=4)
    file = await multipart(client, b"0123456789ab")
    [result] = (await confirm(client, {**file, "multipart": None}))["results"]
    assert (result["success"], result["error"] is None) == (False, False)
    assert (await confirm(client, file))["results"][0]["success"]


async def test_parts_stay_as_long_as_others_come(start):
    client = await start(presign_threshold=10, presign_part_size=4, upload_lifetime=0.3)
    data, sent = b"0123456789ab", []
    target = (await presign(client, len(data)))["files"][0]
    for number, part in enumerate(target["multipart"]["parts"]):
        _, headers, _ = await client.raw("PUT", part["presigned_url"], data=data[:4])
        sent.append({"part_number": number + 1, "etag": headers["ETag"]})
        await asyncio.sleep(0.2)
        await housekeeping.sweep(client.running.runner.app)
    named = {"upload_id": target["multipart"]["upload_id"], "parts": sent}
    file = entry(target, data[:4] * 3, multipart=named)
    for _ in range(2):
        assert (await confirm(client, file))["results"][0]["success"]
        await housekeeping.sweep(client.running.runner.app)


async def test_assembling_needs_room(start):
    client = await start(presign_threshold=10, presign_part_size=400_000, max_total_size=1_500_000)
    target = {"files": [await multipart(client, bytes(900_000))]}
    path = "/data_files/presigned_upload/confirm_upload/"
    await client.call("POST", path, json=target, status=507)


async def test_the_size_is_signed(start, tmp_path):
    client = await start(presign_threshold=10, presign_part_size=8)
    files = (await presign(client, 3, 12))["files"]
    urls = [files[0]["presigned_url"]]
    urls += [part["presigned_url"] for part in files[1]["multipart"]["parts"]]

    async def streamed(data):
        yield data

    for url, size in zip(urls, (3, 8, 4), strict=True):
        for wrong in (b"x" * (size - 1), b"x" * (size + 1)):
            for body in (wrong, streamed(wrong)):
                status, _, text = await client.raw("PUT", url, data=body)
                assert status in (403, 413), text
                assert b"<Code>" in text
        changed = url.replace(f"size={size}", f"size={size + 1}")
        assert (await client.raw("PUT", changed, data=b"x" * (size + 1)))[0] == 403
        assert (await client.raw("PUT", url, data=b"x" * size))[0] == 200
    assert list((tmp_path / "root/staging").iterdir()) == []


async def test_a_signed_size_does_not_exceed_the_largest_file(start):
    client = await start(max_file_size=1000)
    answer = await presign(client, 2000)
    url = answer["files"][0]["presigned_url"]

    async def streamed():
        yield b"x" * 2000

    for body in (b"x" * 2000, streamed()):
        assert (await client.raw("PUT", url, data=body))[0] == 413
