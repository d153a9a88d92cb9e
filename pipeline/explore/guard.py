"""Who may ask: pages of this server on this machine, and nobody through them.

A page of somebody else in the same browser can send requests to loopback, and can give itself a name that leads there (DNS
rebinding). Both show in headers that no page can set: Host, Origin and Sec-Fetch-Site. A link may lead here, as those of the
report do: that opens the page itself, in a window of its own, which holds no data.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Refuses every request that does not come from a page of this server, and gives every answer its headers."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if reason := refused(Headers(scope=scope), opens_page=scope["path"] == "/" and scope["method"] == "GET"):
            answer = JSONResponse({"error": reason, "hint": "Open the address that `mcr serve` printed."}, 403)
            await answer(scope, receive, headed)
            return
        await self._app(scope, receive, headed)


def refused(headers: Headers, opens_page: bool = False) -> str:
    """Why a request with `headers` is refused; empty if it is not. `opens_page`: it asks for the page and nothing else."""
    host = headers.get("host", "")
    if _name(host) not in LOOPBACK:
        return "This server answers on the loopback address only."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "A page of another origin may not ask."
    followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not (opens_page and followed):
        return "A page of another site may not ask."
    return ""


def _name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdigit() else host.lower()
