"""The web application: one page, its JSON API, and what it shows. Nothing that is asked changes a file."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import McrError, SampleError, TryAgainError, UserError
from pipeline.explore import answers
from pipeline.explore.explorer import Asked, Explorer, words
from pipeline.explore.guard import Guard
from pipeline.explore.media import KINDS, Media
from pipeline.explore.uploads import Uploads
from pipeline.settings import Settings

PAGE = Path(__file__).parent / "page"
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
LARGEST_REQUEST = 1 << 20

Result = TypeVar("Result")
Asking = TypeVar("Asking", bound=Settings)


class Api:
    """The endpoints. All that computes does so in one thread, one question after the other.

    Args:
        explorer: Answers.
        uploads: Files that were dropped on the page.
        media: Makes what is shown.
        title: Of the page.
    """

    def __init__(self, explorer: Explorer, uploads: Uploads, media: Media, title: str) -> None:
        self._explorer, self._uploads, self._media, self._title = explorer, uploads, media, title
        self._thread = ThreadPoolExecutor(1, "explore")
        self._shown = ThreadPoolExecutor(1, "media")

    async def facts(self, _: Request) -> Response:
        """What there is."""
        found = answers.Facts(
            title=self._title,
            connections=self._explorer.facts(),
            endings=self._uploads.endings,
            largest=self._uploads.largest,
        )
        return _json(found)

    async def schema(self, _: Request) -> Response:
        """JSON schema of the API."""
        return JSONResponse(answers.schema())

    async def upload(self, request: Request) -> Response:
        """Admit the file in the body, which ``?name=`` names."""
        name = request.query_params.get("name", "")[:255]
        most = self._uploads.largest[self._uploads.modality_of(name)]
        content = await _body(request, most, f"{name} has more than {most:,} bytes.")
        upload, modality = await self._run(lambda: self._uploads.add(name, content))
        return _json(answers.Uploaded(upload=upload, modality=modality, name=name))

    async def search(self, request: Request) -> Response:
        """Find items."""
        asked = await _read(request, answers.Search)
        return _json(await self._run(lambda: self._explorer.search(self._asked(asked), asked)))

    async def partners(self, request: Request) -> Response:
        """What pseudo-pairs of a query would be made of."""
        asked = await _read(request, answers.Partners)
        return _json(await self._run(lambda: self._explorer.partners(self._asked(asked), asked)))

    async def map(self, request: Request) -> Response:
        """Everything on a plane."""
        name = request.query_params.get("connection", "")
        return _json(await self._run(lambda: self._explorer.map(name)))

    async def media(self, request: Request) -> Response:
        """A sample as a browser shows it."""
        found = dict(request.path_params)
        kind = found.pop("kind")
        item = _valid(answers.Item, {"modality": KINDS[kind][0], **found}) if kind in KINDS else None
        if item is None:
            raise HTTPException(404)

        def made() -> bytes:
            member = self._explorer.samples.member(item.corpus, item.shard, item.key, item.modality)
            if member is None:
                raise HTTPException(404)
            return self._media(kind, member.content)

        content = await asyncio.get_running_loop().run_in_executor(self._shown, made)
        return _ranged(request, content, KINDS[kind][1])

    async def sent(self, request: Request) -> Response:
        """An upload as a browser shows it."""
        kind = request.path_params["kind"]
        if kind not in KINDS:
            raise HTTPException(404)
        content = self._uploads.get(request.path_params["upload"]).content
        shown = await asyncio.get_running_loop().run_in_executor(self._shown, lambda: self._media(kind, content))
        return _ranged(request, shown, KINDS[kind][1])

    async def page(self, request: Request) -> Response:
        """The page, its script or its style."""
        name = request.path_params.get("name", "index.html")
        if name not in ("index.html", "page.js", "page.css"):
            raise HTTPException(404)
        content = (PAGE / name).read_bytes()
        return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers={"Cache-Control": "no-cache"})

    def _asked(self, query: answers.Query) -> Asked:
        if query.item:
            return Asked(query.item.modality, item=query.item)
        if query.upload:
            upload = self._uploads.get(query.upload)
            return Asked(upload.modality, upload.content)
        return words(query.text)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def make_app(explorer: Explorer, uploads: Uploads, media: Media, title: str) -> Starlette:
    """The application; see `Api`."""
    api = Api(explorer, uploads, media, title)
    item = "{corpus}/{shard}/{key}"
    routes = [
        Route("/", api.page),
        Route("/{name}", api.page),
        Route("/api/facts", api.facts),
        Route("/api/schema", api.schema),
        Route("/api/upload", api.upload, methods=["POST"]),
        Route("/api/search", api.search, methods=["POST"]),
        Route("/api/partners", api.partners, methods=["POST"]),
        Route("/api/map", api.map),
        Route(f"/media/{{kind}}/{item}", api.media),
        Route("/sent/{kind}/{upload}", api.sent),
    ]
    errors: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        McrError: _said,
        SampleError: _said,
        HTTPException: _http,
        ClientDisconnect: _gone,
        Exception: _unexpected,
    }
    return Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers=errors)


async def _said(_: Request, error: McrError | SampleError) -> Response:
    status = 400 if isinstance(error, UserError | SampleError) else 503 if isinstance(error, TryAgainError) else 500
    return _refused(status, f"{error.message}", getattr(error, "hint", ""))


async def _http(_: Request, error: HTTPException) -> Response:
    said = {404: "There is nothing at this address.", 405: "This address is asked in another way."}
    return _refused(error.status_code, said.get(error.status_code, str(error.detail)))


async def _gone(_: Request, __: ClientDisconnect) -> Response:
    return _refused(400, "The upload broke off.")


async def _unexpected(_: Request, error: Exception) -> Response:
    return _refused(500, f"Unexpected {type(error).__name__}.", "The terminal in which `mcr serve` runs says more.")


def _refused(status: int, error: str, hint: str = "") -> Response:
    return JSONResponse({"error": error, "hint": hint}, status)


def _json(found: Settings) -> Response:
    return Response(found.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def _read(request: Request, kind: type[Asking]) -> Asking:
    """The body as `kind`.

    Raises:
        UserError: It is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("A question is JSON.", "Send it with Content-Type: application/json.")
    body = await _body(request, LARGEST_REQUEST, "The question is too long.")
    try:
        content = json.loads(body)
    except ValueError as error:
        raise UserError("The question is not JSON.", "See /api/schema.") from error
    return _valid(kind, content)


def _valid(kind: type[Asking], content: object) -> Asking:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UserError(f"{where or 'The question'}: {first['msg']}.", "See /api/schema.") from error


async def _body(request: Request, most: int, too_long: str) -> bytes:
    """The body, which is not read any further than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise UserError(too_long, "Choose something smaller.")
        parts.append(part)
    return b"".join(parts)


def _ranged(request: Request, content: bytes, kind: str) -> Response:
    """`content`, or the range of it that a player asks for."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=300"}
    asked = request.headers.get("range", "")
    first, dash, last = asked.removeprefix("bytes=").partition("-")
    if asked.startswith("bytes=") and dash and first.isdigit() and (last.isdigit() or not last):
        start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        if start <= end:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return Response(content[start : end + 1], 206, headers, kind)
    return Response(content, 200, headers, kind)
