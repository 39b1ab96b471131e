"""The HTTP face on a real port with a real database and a real object store, for tests of it.

One file, though long: one face, with the parts that stand behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yarl import URL

from drivers.cameras.parent.exporter import SubprocessJoiner
from gateway.alarm.answering import Answering
from gateway.alarm.drilling import Drilling
from gateway.api.app import ApiParts, Caller, build_app
from gateway.domain.alarm import Alarm, State
from gateway.domain.camera import CameraHealth, LivePlaylist, LiveSegment
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Unavailable
from gateway.domain.evidence import ClipTaken, Evidence, EvidenceState, Kind, Moment, StillTaken
from gateway.domain.links import LinkSigner
from gateway.domain.plan import Camera, Point, Severity, Site, Zone
from gateway.domain.room import Room
from gateway.ports.cameras import CameraBank
from gateway.ports.recordings import Signer
from gateway.recording.exporting import Exporting
from gateway.recording.retention import Keeping
from gateway.watch.access_register import Registering
from storage.objects.local import LocalObjects
from storage.sql.store import SqlStore

TOKENS = {
    role: Caller(name=name, unit="某单位", role=role)
    for role, name in (("centre", "110"), ("guard", "门卫"), ("technician", "维护"), ("inspector", "督导"))
}
TOKEN_OF = {role: f"token-of-the-{role}" for role in TOKENS}
EVERYONE = tuple(TOKENS)
START = datetime(2026, 3, 2, 2, 15, 7, 123000, tzinfo=UTC)
CAMERA, OTHER = "cam-b1-f3", "cam-gate-south"


class HandClock:
    """A wall clock that stands still until it is moved; sleeping is real."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def advance(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass(kw_only=True)
class ListedCameras:
    """A camera bank that says what it is told to; where there is no playlist the camera is unavailable."""

    playlists: dict[str, LivePlaylist | Unavailable] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, CameraHealth] = field(default_factory=dict)

    async def take_still(self, camera: str, at: datetime, *, at_s: float | None = None) -> StillTaken:
        raise Unavailable("no still here")

    async def fetch_snapshot(self, camera: str) -> StillTaken:
        raise Unavailable("no snapshot here")

    async def cut_clip(
        self,
        camera: str,
        start: datetime,
        end: datetime,
        target: Path,
        *,
        span_s: tuple[float, float] | tuple[None, None] = (None, None),
    ) -> ClipTaken:
        raise Unavailable("no clip here")

    async def live_playlist(self, camera: str) -> LivePlaylist:
        if camera not in self.playlists:
            raise Unavailable("it answers 401: wrong password")
        found = self.playlists[camera]
        if isinstance(found, Unavailable):
            raise found
        return found

    async def live_part(self, camera: str, name: str) -> bytes:
        if name not in self.parts:
            raise Unavailable("left the ring")
        return self.parts[name]

    def health(self) -> Mapping[str, CameraHealth]:
        return self.known


def listed_playlist(*, first: int = 7, epoch: int = 0) -> LivePlaylist:
    """Three segments of a second and a bit."""
    return LivePlaylist(
        codec="avc1.42e01f",
        init=f"init-{epoch}.mp4",
        epoch=epoch,
        segments=[
            LiveSegment(
                name=f"{epoch}-{n}.m4s", sequence=n, duration_s=1.04, begins_at=START + timedelta(seconds=n)
            )
            for n in range(first, first + 3)
        ],
    )


def school_site() -> Site:
    gate = Zone(id="gate-south", name="南门", kind="gate")
    corridor = Zone(id="b1-f3-corridor", name="一号楼三层走廊", kind="corridor", building="一号楼", floor=3)
    room = Zone(id="b1-301", name="301 教室", kind="classroom", building="一号楼", floor=3)
    return Site(
        id="jms-no3-middle",
        name="第三中学",
        address="长安路 86 号",
        lat=46.8085,
        lon=130.3653,
        timezone="Asia/Shanghai",
        zones={z.id: z for z in (gate, corridor, room)},
        cameras={
            CAMERA: Camera(id=CAMERA, name="三层走廊", zone=corridor.id),
            OTHER: Camera(id=OTHER, name="南门枪机", zone=gate.id, continuous=True),
        },
        points={
            "p-b1-301": Point(id="p-b1-301", name="301 教室讲台", zone=room, cameras=(CAMERA,)),
            "p-gate": Point(id="p-gate", name="门卫室", zone=gate, cameras=(OTHER,)),
        },
        retention_days=30,
        before_s=30,
        after_s=30,
        accept_within_s=60,
    )


@dataclass(kw_only=True)
class Answer:
    """One answer of the face, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def problem(self) -> str:
        """The last word of the problem's type; fails if the answer is no well-formed problem document."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.body[:200])
        assert {"type", "title", "status", "detail"} <= set(self.json)
        assert self.json["status"] == self.status
        assert self.json["detail"]
        return str(self.json["type"]).removeprefix("urn:campus-gateway:problem:")


@dataclass(kw_only=True)
class Face:
    """A running HTTP face and the parts behind it."""

    parts: ApiParts
    clock: HandClock
    store: SqlStore
    objects: LocalObjects
    cameras: ListedCameras
    base: str
    http: aiohttp.ClientSession
    directory: Path
    ready: tuple[bool, list[str]] = (True, [])
    seen: dict[str, Mapping[str, object]] = field(default_factory=dict)

    async def ask(
        self,
        path: str,
        *,
        role: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        encoded: bool = False,
        **more: Any,
    ) -> Answer:
        """Ask for a path (or a whole address) by role, or without a token; an ``encoded`` one is sent as it is."""
        sent = dict(headers or {})
        if role is not None:
            sent["Authorization"] = f"Bearer {TOKEN_OF[role]}"
        url = path if path.startswith("http") else self.base + path
        async with self.http.request(
            method, URL(url, encoded=encoded), headers=sent, allow_redirects=False, **more
        ) as answer:
            body = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "") and body
            return Answer(
                status=answer.status,
                headers={k.lower(): v for k, v in answer.headers.items()},
                body=body,
                json=await answer.json(content_type=None) if is_json else None,
            )

    async def say(self, path: str, body: object, *, role: str | None = "centre", **more: Any) -> Answer:
        """POST a document."""
        return await self.ask(path, role=role, method="POST", json=body, **more)

    async def add_alarm(self, id_: str = "alm_1", **changes: Any) -> Alarm:
        """Keep an alarm, by default a fresh one of point p-b1-301."""
        at = changes.get("raised_at", self.clock.now())
        alarm = Alarm(
            id=id_,
            drill=changes.pop("drill", None),
            point="p-b1-301",
            severity=Severity.PANIC,
            state=State.RAISED,
            pressed_at=at,
            raised_at=at,
            last_press_at=at,
            window_ends_at=at + timedelta(seconds=30),
            cameras=(CAMERA,),
        )
        alarm = replace(alarm, **changes)
        await self.store.write(lambda tx: tx.alarms.add(alarm))
        return alarm

    async def change_alarm(self, alarm: Alarm, **changes: Any) -> Alarm:
        changed = replace(alarm, **changes)
        await self.store.write(lambda tx: tx.alarms.save(changed))
        return changed

    async def add_evidence(
        self,
        data: bytes,
        id_: str = "evd_1",
        *,
        alarm: str = "alm_1",
        kind: Kind = Kind.STILL,
        sha256: str = "",
    ) -> Evidence:
        """Store an item as gathering does: object first, row second."""
        suffix = "jpg" if kind is Kind.STILL else "mp4"
        key = f"jms-no3-middle/alarms/2026/03/02/{alarm}/{CAMERA}/{id_}.{suffix}"
        await self.objects.put_bytes(key, data)
        item = Evidence(
            id=id_,
            alarm=alarm,
            camera=CAMERA,
            kind=kind,
            moment=Moment.PRESS,
            start=self.clock.now(),
            end=self.clock.now(),
            state=EvidenceState.STORED,
            taken_at=self.clock.now(),
            offset_ms=3,
            clock="rtcp",
            source="ring",
            media_type="image/jpeg" if kind is Kind.STILL else "video/mp4",
            bytes=len(data),
            sha256=sha256 or hashlib.sha256(data).hexdigest(),
            key=key,
            stored_at=self.clock.now(),
        )
        await self.store.write(lambda tx: tx.evidence.add([item]))
        return item

    async def evidence(self, id_: str = "evd_1") -> Evidence:
        item = await self.store.read(lambda tx: tx.evidence.get(id_))
        assert item is not None
        return item

    async def until_taken(self, id_: str = "evd_1", within_s: float = 5.0) -> bool:
        """Whether the item comes to count as uploaded."""
        deadline = asyncio.get_running_loop().time() + within_s
        while (await self.evidence(id_)).uploaded_at is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def media_link(self, item: Evidence, **lives: float) -> str:
        expires_at = self.clock.now() + timedelta(**(lives or {"days": 7}))
        return self.parts.links.url(f"/media/{item.key}", expires_at=expires_at, alarm=item.alarm)

    def live_link(self, path: str, *, alarm: str = "alm_1", **lives: float) -> str:
        expires_at = self.clock.now() + timedelta(**(lives or {"days": 1}))
        return self.parts.links.url(path, expires_at=expires_at, alarm=alarm)


@asynccontextmanager
async def served(
    directory: Path,
    *,
    cameras: CameraBank | None = None,
    clock: HandClock | None = None,
    site: Site | None = None,
) -> AsyncIterator[Face]:
    """Serve the face by uvicorn on a free port until the block ends."""
    store, objects = SqlStore(directory / "gateway.db"), LocalObjects(directory / "objects")
    clock, plan, listed = clock or HandClock(), site or school_site(), ListedCameras()
    # The protocol is named, because asyncio sets TCP_NODELAY only where it is: otherwise every answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    links = LinkSigner(b"k" * 32, base)
    envelopes = Envelopes(site=plan, links=links, media_link_s=604_800, live_link_s=86_400)
    await store.start()
    await objects.start()
    woken: list[str] = []
    key = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signer = Signer(sign=key.sign, public=public)
    registering = Registering(
        store=store,
        clock=clock,
        site=plan.id,
        signer=signer,
        tell=lambda cause: woken.append(f"register: {cause}"),
    )
    parts = ApiParts(
        site=plan,
        store=store,
        clock=clock,
        answering=Answering(
            store=store,
            clock=clock,
            envelopes=envelopes,
            wake_delivering=lambda: woken.append("delivering"),
            wake_gathering=lambda: woken.append("gathering"),
        ),
        drilling=Drilling(
            store=store,
            clock=clock,
            envelopes=envelopes,
            cameras=cameras or listed,
            can_sign=True,
            wake_delivering=lambda: woken.append("delivering"),
            wake_gathering=lambda: woken.append("gathering"),
        ),
        registering=registering,
        exporting=Exporting(
            store=store,
            clock=clock,
            objects=objects,
            cameras=cameras or listed,
            site=plan,
            signer=signer,
            joiner=SubprocessJoiner(),
            folder=directory / "exports",
            software="campus-gateway 1.2.3",
            reserve_bytes=10**9,
        ),
        keeping=Keeping(
            store=store,
            clock=clock,
            objects=objects,
            site=plan,
            steps=("substream", "keyframes", "stop"),
            reserve_bytes=10**9,
            room=lambda: Room(total=10**13, free=10**12),
        ),
        cameras=cameras or listed,
        objects=objects,
        envelopes=envelopes,
        links=links,
        tokens={TOKEN_OF[role]: caller for role, caller in TOKENS.items()},
        readiness=lambda: face.ready,
        last_seen=lambda: face.seen,
        metrics=lambda: b"campus_presses_total 3\n",
        version="1.2.3",
        centre_name="市公安局 110 指挥中心",
    )
    config = uvicorn.Config(
        build_app(parts), log_level="critical", access_log=False, lifespan="off", server_header=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]), name="served-face")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        face = Face(
            parts=parts,
            clock=clock,
            store=store,
            objects=objects,
            cameras=listed,
            base=base,
            http=http,
            directory=directory,
        )
        try:
            assert (await face.ask("/healthz")).status == 200  # waits until it is served
            yield face
        finally:
            server.should_exit = True
            server.force_exit = True
            await serving
            await store.stop()


def on_face(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make ``async def test(face, …)`` a test that pytest runs: a fresh face for each, further parameters from pytest."""

    def run(tmp_path: Path, **given: Any) -> None:
        async def inside() -> None:
            async with served(tmp_path) as face:
                await test(face, **given)

        asyncio.run(inside())

    wanted = list(inspect.signature(test).parameters.values())[1:]
    own = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([own, *wanted])  # type: ignore[attr-defined]
    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run
