"""The outermost layer of the HTTP face, as plain ASGI: headers, HEAD, the limit of bodies, and an answer when all else failed."""

from __future__ import annotations

import traceback

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.problems import Problem

log = structlog.get_logger(__name__)

#: Signed links stand in addresses, so no page may name its own in a Referer; nothing here is what its sniffed type says.
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}
#: No page here may be put into a frame of another one, where its buttons could be clicked unseen.
_NO_FRAMES = "frame-ancestors 'none'"
#: A link is the whole permission: no cookie goes with it, so the centre's own page on another origin may play what it was given.
_OPEN_TO_PAGES = ("/media/", "/live/")
HEAD = "campus.head"  # in the scope: the caller asked for the headers only
BODY_BYTES = 64 * 1024  # the largest body here is a note of 2,000 characters


class Face:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        head = scope["method"] == "HEAD"
        path: str = scope["path"]
        if head:
            scope = {**scope, "method": "GET", HEAD: True}

        async def finish(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "private, no-store")
                policy = headers.get("Content-Security-Policy")
                headers["Content-Security-Policy"] = f"{policy}; {_NO_FRAMES}" if policy else _NO_FRAMES
                if path.startswith(_OPEN_TO_PAGES):
                    headers["Access-Control-Allow-Origin"] = "*"
                    headers["Access-Control-Expose-Headers"] = "Content-Range, ETag, Retry-After"
            elif head:
                message = {**message, "body": b""}
            await send(message)

        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES:
                raise HTTPException(413)  # what the framework lets through while it reads a body
            return message

        try:
            await self._app(scope, limited, finish)
        except ClientDisconnect:
            return  # whoever asked has gone: no failure of ours, and nobody to answer
        except Exception:
            # As text: some renderers print a traceback's local variables, and those hold tokens and signed queries.
            log.error(
                "http.failed",
                method=scope["method"],
                path=path,
                traceback=traceback.format_exc(limit=-8, chain=False),
            )
            if started:
                raise  # the server closes the connection, so that half an answer is not taken for a whole one
            await Problem("internal").response()(scope, receive, finish)
