"""A proxy for a real server that emulates other readings of the protocols."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Date", "Server")


@dataclass
class Question:
    """A request on its way in; may be changed, or answered directly."""

    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    body: bytes
    answer: Answer | None = None


@dataclass
class Answer:
    """A response on its way out; may be changed."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    chunked: bool = False

    def json(self, change: Callable[[Any], Any]) -> None:
        """Change the body, where it is JSON."""
        if "json" in self.headers.get("Content-Type", ""):
            self.body = json.dumps(change(json.loads(self.body))).encode()


@dataclass
class Reading:
    """One reading of the protocols: changes requests and responses."""

    ask: Callable[[Question], None] = lambda question: None
    tell: Callable[[Question, Answer], None] = lambda question, answer: None
    settings: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def front(root: Path, reading: Reading) -> Iterator[str]:
    """Run a server with a rewriting proxy in front; give the proxy's URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    settings = ServerSettings(root=root, tokens=("t",), api_keys=("k",), **reading.settings)
    behind = wait_for(serve(settings))
    runner, session = wait_for(_front(behind.url, reading))
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        wait_for(session.close())
        wait_for(runner.cleanup())
        wait_for(behind.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _front(behind: str, reading: Reading) -> tuple[web.AppRunner, aiohttp.ClientSession]:
    session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        question = Question(
            request.method,
            request.rel_url.raw_path,
            dict(request.query),
            CIMultiDict(request.headers),
            b"".join([piece async for piece in request.content.iter_any()]),
        )
        reading.ask(question)
        answer = question.answer or await _forward(session, behind, question)
        reading.tell(question, answer)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if answer.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(answer.body)
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(answer.body)
        await response.write_eof()
        return response

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, session


async def _forward(session: aiohttp.ClientSession, behind: str, question: Question) -> Answer:
    headers = question.headers.copy()
    for name in ("Transfer-Encoding", "Content-Length"):
        headers.popall(name, None)
    url = URL(behind + question.path, encoded=True)
    async with session.request(
        question.method,
        url.with_query(question.query) if question.query else url,
        headers=headers,
        data=io.BytesIO(question.body),
        allow_redirects=False,
        skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding", "User-Agent"),
    ) as reply:
        body = await reply.read()
        told = CIMultiDict(reply.headers)
    for name in HOP_BY_HOP:
        told.popall(name, None)
    return Answer(reply.status, told, body)
