"""The web application: one page, its JSON API, and what it shows. Nothing that is asked changes a file."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import McrError, SampleError
from pipeline.explore import answers
from pipeline.explore.asked import Asked, words
from pipeline.explore.exchange import (
    as_json,
    body_of,
    gone,
    http_error,
    ranged,
    read,
    said,
    unexpected,
    valid,
)
from pipeline.explore.explorer import Explorer
from pipeline.explore.guard import Guard
from pipeline.explore.media import KINDS, Media
from pipeline.explore.uploads import Uploads

PAGE = Path(__file__).parent / "page"
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}

Result = TypeVar("Result")


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
        return as_json(found)

    async def schema(self, _: Request) -> Response:
        """JSON schema of the API."""
        return JSONResponse(answers.schema())

    async def upload(self, request: Request) -> Response:
        """Admit the file in the body, which ``?name=`` names."""
        name = request.query_params.get("name", "")[:255]
        most = self._uploads.largest[self._uploads.modality_of(name)]
        content = await body_of(request, most, f"{name} has more than {most:,} bytes.")
        upload, modality = await self._run(lambda: self._uploads.add(name, content))
        return as_json(answers.Uploaded(upload=upload, modality=modality, name=name))

    async def search(self, request: Request) -> Response:
        """Find items."""
        asked = await read(request, answers.Search)
        return as_json(await self._run(lambda: self._explorer.search(self._asked(asked), asked)))

    async def partners(self, request: Request) -> Response:
        """What pseudo-pairs of a query would be made of."""
        asked = await read(request, answers.Partners)
        return as_json(await self._run(lambda: self._explorer.partners(self._asked(asked), asked)))

    async def map(self, request: Request) -> Response:
        """Everything on a plane."""
        name = request.query_params.get("connection", "")
        return as_json(await self._run(lambda: self._explorer.map(name)))

    async def media(self, request: Request) -> Response:
        """A sample as a browser shows it."""
        found = dict(request.path_params)
        kind = found.pop("kind")
        item = valid(answers.Item, {"modality": KINDS[kind][0], **found}) if kind in KINDS else None
        if item is None:
            raise HTTPException(404)

        def made() -> bytes:
            member = self._explorer.samples.member(item.corpus, item.shard, item.key, item.modality)
            if member is None:
                raise HTTPException(404)
            return self._media(kind, member.content)

        content = await asyncio.get_running_loop().run_in_executor(self._shown, made)
        return ranged(request, content, KINDS[kind][1])

    async def sent(self, request: Request) -> Response:
        """An upload as a browser shows it."""
        kind = request.path_params["kind"]
        if kind not in KINDS:
            raise HTTPException(404)
        content = self._uploads.get(request.path_params["upload"]).content
        shown = await asyncio.get_running_loop().run_in_executor(self._shown, lambda: self._media(kind, content))
        return ranged(request, shown, KINDS[kind][1])

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


def make_app(explorer: Explorer, uploads: Uploads, media: Media, title: str) -> Guard:
    """The application; see `Api`. When it shuts down, the processes that decode end."""
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
        McrError: said,
        SampleError: said,
        HTTPException: http_error,
        ClientDisconnect: gone,
        Exception: unexpected,
    }

    @asynccontextmanager
    async def ending(_: Starlette) -> AsyncIterator[None]:
        yield
        explorer.close()
        media.close()

    # Around all of it: Starlette answers to a bug outside of its own middleware.
    return Guard(Starlette(routes=routes, exception_handlers=errors, lifespan=ending))
