"""The collections service's routes that take file content, one method each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pydantic import TypeAdapter

from synapsefs.errors import IntegrityError
from synapsefs.http import Body, body_of
from synapsefs.services.collections.calls import JSON_HEADERS, Caller
from synapsefs.services.wireio import parsed
from synapsefs.wire.collections import v1
from synapsefs.wire.collections.constants import EXPIRATION_DEFAULT

CHUNKED_ROUTE = "chunked_upload/"
_PRESIGNED = TypeAdapter(v1.PresignAnswer)
_CONFIRMED = TypeAdapter(v1.ConfirmAnswer)
_FORM_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


class SendingApi(Caller):
    """Typed calls that send content: whole, in chunks, or straight to the storage."""

    async def storages(self, about: str) -> list[v1.Storage]:
        """List the storages that files go to (v1)."""
        reply = await self._get("storages/", about, {"category": "internal"})
        return parsed(TypeAdapter(v1.StoragePage), reply, about).results

    async def presign(
        self, files: Sequence[v1.FileToPresign], about: str, *, lifetime: int = EXPIRATION_DEFAULT
    ) -> v1.PresignAnswer:
        """Ask for signed URLs that take at most a thousand files, in their order (v1).

        They are good for ``lifetime`` seconds, or what the service grants of it.
        """
        body = v1.PresignQuery(files=list(files), expiration=lifetime).model_dump_json().encode()
        route = "data_files/presigned_upload/upload/"
        reply = await self._call("POST", route, about, body, headers=JSON_HEADERS)
        answer = parsed(_PRESIGNED, reply, about)
        keys = {target.file_key for target in answer.files}
        if not len(keys) == len(answer.files) == len(files):
            raise IntegrityError("the service gave no place for each file", about)
        return answer

    async def confirm(
        self, files: Sequence[v1.FileToConfirm], about: str
    ) -> dict[str, v1.ConfirmedFile]:
        """Say that files have arrived in the storage (v1); twice gives the same answer.

        The answer is by key; it may refuse some.
        """
        if not files:
            return {}
        body = v1.ConfirmQuery.model_construct(files=list(files))
        route = "data_files/presigned_upload/confirm_upload/"
        reply = await self._send("POST", route, about, body, replay=True)
        answer = parsed(_CONFIRMED, reply, about)
        results = {result.file_key: result for result in answer.results}
        if results.keys() != {file.file_key for file in files}:
            raise IntegrityError("the service did not confirm the files", about)
        return results

    async def existing_checksums(self, checksums: Sequence[str], about: str) -> list[str]:
        """Ask which of at most a thousand MD5 checksums the service has files of (v1)."""
        body = v1.ChecksumQuery(checksums=list(checksums))
        reply = await self._send("POST", "data_files/verify_checksums/", about, body, replay=True)
        return parsed(TypeAdapter(v1.ChecksumAnswer), reply, about).existing_checksums

    async def upload_file(self, content: bytes | memoryview, name: str, about: str) -> v1.DataFile:
        """Send a whole file as a form (v1); twice gives the same content-addressed file."""
        form = file_form(content, name)
        reply = await self._call("POST", "data_files/", about, form, replay=True)
        return parsed(TypeAdapter(v1.DataFile), reply, about)

    async def register_chunks(self, upload: int | str, about: str) -> v1.DataFile:
        """Turn a finished chunked upload into a data file (v1)."""
        body = v1.DataFileFromChunks(chunked_upload=upload)
        reply = await self._send("POST", "data_files/", about, body, replay=True)
        return parsed(TypeAdapter(v1.DataFile), reply, about)

    async def put_chunk(
        self, url: str, chunk: bytes | memoryview, name: str, first: int, total: int, about: str
    ) -> v1.ChunkedUpload:
        """Send the chunk that begins at byte ``first``; not sent again by itself.

        At :data:`CHUNKED_ROUTE` a new upload begins; its answer has the URL of the next chunks.
        """
        headers = {"Content-Range": f"bytes {first}-{first + len(chunk) - 1}/{total}"}
        form = file_form(chunk, "file", filename=name)
        reply = await self._call("PUT", url, about, form, replay=False, headers=headers)
        return parsed(TypeAdapter(v1.ChunkedUpload), reply, about)

    async def chunk_state(self, upload: int | str, about: str) -> v1.ChunkedUpload:
        """Ask how far a chunked upload has come."""
        reply = await self._get(f"chunked_upload/{upload}/", about, {})
        return parsed(TypeAdapter(v1.ChunkedUpload), reply, about)

    async def finalise_chunks(self, url: str, md5: str, about: str) -> v1.ChunkedUpload:
        """Finish a chunked upload with the MD5 of the whole file, in hex."""
        reply = await self._send("POST", url, about, v1.Finalise(md5=md5), replay=False)
        return parsed(TypeAdapter(v1.ChunkedUpload), reply, about)


def file_form(content: bytes | memoryview, name: str, *, filename: str | None = None) -> Body:
    """Make the form that carries a file, without copying its content.

    With ``filename`` that is a field of its own, as the chunked upload wants it.
    """
    boundary = secrets.token_hex(16)
    head = b""
    if filename is not None:
        disposition = 'Content-Disposition: form-data; name="filename"'
        head = f"--{boundary}\r\n{disposition}\r\n\r\n{filename}\r\n".encode()
    quoted = name.translate(_FORM_ESCAPES)
    disposition = f'Content-Disposition: form-data; name="file"; filename="{quoted}"'
    head += f"--{boundary}\r\n{disposition}\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body_of(head, content, tail, headers=kind)
