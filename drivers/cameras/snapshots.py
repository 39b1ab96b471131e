"""A camera's own snapshot, over HTTP with digest, within a hard deadline.

Fetched by the gateway's process and not the camera process: the picture is passed on unread, and it is the second leg of the
evidence, still standing when the first falls.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

DEADLINE_S = 3.0
"""For the whole exchange: there are cameras whose snapshot never ends."""

LARGEST = 10 << 20
"""Bytes of the largest snapshot taken; a 4K picture at best quality has about 6 MB."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The picture, and how long the request had been on its way when the camera began to answer."""

    jpeg: bytes
    answered_after_s: float


class Snapshots:
    """Fetches snapshots; each camera's digest challenge is remembered, so that the next one takes one exchange."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._logins: dict[str, aiohttp.DigestAuthMiddleware] = {}

    async def close(self) -> None:
        """End all connections; harmless when repeated."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, url: str, address: OnvifAddress) -> Snapshot:
        """Fetch one picture. Raises ``Unavailable`` with the reason."""
        import aiohttp  # long there when a first picture is asked for, and not wanted while the gateway arms

        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        login = self._logins.get(url)
        if login is None and address.username:
            login = self._logins[url] = aiohttp.DigestAuthMiddleware(address.username, address.password)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._get(self._session, url, login)
        except TimeoutError:
            raise Unavailable(f"the camera's snapshot was not there within {DEADLINE_S:.0f} s") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise Unavailable(f"the camera's snapshot cannot be fetched: {exc}") from exc

    async def _get(
        self, session: aiohttp.ClientSession, url: str, login: aiohttp.DigestAuthMiddleware | None
    ) -> Snapshot:
        loop = asyncio.get_running_loop()
        began = loop.time()
        middlewares = () if login is None else (login,)
        async with session.get(url, middlewares=middlewares, allow_redirects=False) as response:
            answered_after_s = loop.time() - began
            if response.status == 401:
                raise Unavailable("the camera refuses user name or password for its snapshot (401)")
            if response.status != 200:
                raise Unavailable(f"the camera answered {response.status} to the request for its snapshot")
            body = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                body += piece
                if len(body) > LARGEST:
                    raise Unavailable(f"the camera's snapshot exceeds {LARGEST >> 20} MB")
        if not body.startswith(b"\xff\xd8\xff") or b"\xff\xd9" not in body[-64:]:
            raise Unavailable(
                f"the camera's snapshot is no whole JPEG: {len(body)} bytes beginning {body[:4].hex()}"
            )
        return Snapshot(bytes(body), answered_after_s)
