"""Bodies of requests, read with limits, and answers; every refusal is a sentence."""

import json
import re
from typing import TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pipeline.errors import McrError, SampleError, TryAgainError, UserError
from pipeline.settings import Settings, first_problem

LARGEST_REQUEST = 1 << 20

Asking = TypeVar("Asking", bound=Settings)


async def said(_: Request, error: McrError | SampleError) -> Response:
    """The answer to what a user, a damaged file or the machine is to blame for."""
    status = 400 if isinstance(error, UserError | SampleError) else 503 if isinstance(error, TryAgainError) else 500
    return _refused(status, f"{error.message}", getattr(error, "hint", ""))


async def http_error(_: Request, error: HTTPException) -> Response:
    """The answer where there is nothing, or not for this method."""
    said = {404: "There is nothing at this address.", 405: "This address is asked in another way."}
    return _refused(error.status_code, said.get(error.status_code, str(error.detail)))


async def gone(_: Request, __: ClientDisconnect) -> Response:
    """The answer that nobody waits for."""
    return _refused(400, "The upload broke off.")


async def unexpected(_: Request, error: Exception) -> Response:
    """The answer to a bug of ours; the terminal has the traceback."""
    return _refused(500, f"Unexpected {type(error).__name__}.", "The terminal in which `mcr serve` runs says more.")


def _refused(status: int, error: str, hint: str = "") -> Response:
    return JSONResponse({"error": error, "hint": hint}, status)


def as_json(found: Settings) -> Response:
    """An answer of the API."""
    return Response(found.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


async def read(request: Request, kind: type[Asking]) -> Asking:
    """The body as `kind`.

    Raises:
        UserError: It is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UserError("A question is JSON.", "Send it with Content-Type: application/json.")
    body = await body_of(request, LARGEST_REQUEST, "The question is too long.")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UserError("The request is not JSON.", "See /api/schema.") from error
    return valid(kind, content)


def valid(kind: type[Asking], content: object) -> Asking:
    """`content` as `kind`.

    Raises:
        UserError: It is not valid.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{first_problem(error, 'The request')}.", "See /api/schema.") from error


async def body_of(request: Request, most: int, too_long: str) -> bytes:
    """The body, which is not read any further than allowed.

    Raises:
        UserError: It has more bytes than `most`.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise UserError(too_long, "Choose something smaller.")
        parts.append(part)
    return b"".join(parts)


def ranged(request: Request, content: bytes, kind: str) -> Response:
    """`content`, or the range of it that a player asks for."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=300"}
    asked = request.headers.get("range", "")
    if found := re.fullmatch(r"bytes=([0-9]{1,18})-([0-9]{0,18})", asked):
        start, end = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
        if start <= end:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return Response(content[start : end + 1], 206, headers, kind)
    return Response(content, 200, headers, kind)
