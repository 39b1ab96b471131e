"""A camera's own snapshot, over HTTP with the log-in it asks for, within a hard deadline.

Fetched by the gateway's process and not the camera process: the picture is passed on unread, and it is the second leg of the
evidence, still standing when the first falls.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from drivers.cameras.codec.sps import LARGEST_PICTURE
from drivers.cameras.http.conversation import Conversation
from drivers.cameras.http.door import Place, web_places
from drivers.cameras.http.jpeg import size_of
from drivers.cameras.http.picture import PictureEnd
from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Refused, Unavailable

DEADLINE_S = 3.0
"""For the whole exchange: there are cameras whose snapshot never ends."""

HEAD_START_S = 1.0
"""How long the place that is named has the camera for itself, before the one of the site file is asked as well."""

LARGEST = 10 << 20
"""Bytes of the largest snapshot taken; a 4K picture at best quality has about 6 MB."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The picture, and its moment by the loop's clock: halfway between its request and the beginning of the answer."""

    jpeg: bytes
    taken_s: float
    final: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why one place gave none; ``final`` where no other is to be asked, since a password was refused."""

    reason: str
    final: bool


class Snapshots:
    """Fetches snapshots. Of each camera is remembered where it answered and what log-in it asked for, so that the next one takes
    one exchange."""

    def __init__(self) -> None:
        self._conversations: dict[OnvifAddress, Conversation] = {}
        self._answered: dict[OnvifAddress, tuple[str, int]] = {}

    async def fetch(self, url: str, address: OnvifAddress) -> Snapshot:
        """Fetch one picture. Raises ``Unavailable`` with the reason."""
        conversation = self._conversations.setdefault(
            address, Conversation(address.username, address.password)
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._fetch(conversation, url, address)
        except TimeoutError:
            raise Unavailable(f"the camera's snapshot was not there within {DEADLINE_S:.0f} s") from None

    async def _fetch(self, conversation: Conversation, url: str, address: OnvifAddress) -> Snapshot:
        places = web_places(url, address.host, address.port, "snapshot")
        known = self._answered.get(address)
        places.sort(key=lambda place: (place.scheme, place.port) != known)
        outcomes: dict[Place, Snapshot | _Failure] = {}
        async with asyncio.TaskGroup() as group:
            running: dict[asyncio.Task[Snapshot | _Failure], Place] = {}
            waiting = list(places)
            while (waiting or running) and not any(each.final for each in outcomes.values()):
                if waiting:
                    place = waiting.pop(0)
                    running[group.create_task(_attempt(conversation, place))] = place
                done, _ = await asyncio.wait(
                    running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for each in done:
                    outcomes[running.pop(each)] = each.result()
            for each in running:
                each.cancel()
        for place, outcome in outcomes.items():
            if isinstance(outcome, Snapshot):
                self._answered[address] = (place.scheme, place.port)
                return outcome
        failures = [outcomes[place] for place in places if place in outcomes]
        raise Unavailable("; ".join(failure.reason for failure in failures if isinstance(failure, _Failure)))


async def _attempt(conversation: Conversation, place: Place) -> Snapshot | _Failure:
    try:
        return await _get(conversation, place)
    except Refused:
        return _Failure("the camera refuses user name or password for its snapshot (401)", final=True)
    except Unavailable as exc:
        where = f"{place.scheme}://{place.authority}"
        return _Failure(f"the camera's snapshot cannot be fetched from {where}: {exc.reason}", final=False)


async def _get(conversation: Conversation, place: Place) -> Snapshot:
    end = PictureEnd()
    reply = await conversation.ask(
        place,
        "GET",
        largest=LARGEST,
        within_s=DEADLINE_S + 1,  # the caller's deadline comes first
        whole=lambda data: end.found(data) or end.hopeless,
    )
    if reply.status == 401:  # with a challenge it would have been answered
        raise Unavailable("it answers 401 and does not say which log-in it asks for (no WWW-Authenticate)")
    if reply.status != 200:
        raise Unavailable(f"it answers {reply.status} to the request for its snapshot")
    if end.begins is None or end.ends is None:
        raise Unavailable(
            f"its snapshot is no whole JPEG: {len(reply.body)} bytes beginning {reply.body[:4].hex()}"
        )
    jpeg = bytes(reply.body[end.begins : end.ends])
    size = size_of(jpeg)
    if size is not None and size[0] * size[1] > LARGEST_PICTURE:
        raise Unavailable(
            f"its snapshot says it is {size[0]}x{size[1]}; at most {LARGEST_PICTURE} pixels are taken, or who opens it has no "
            "memory left"
        )
    return Snapshot(jpeg, (reply.asked_s + reply.began_s) / 2)
