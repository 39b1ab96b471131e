"""The only place where concrete parts meet: builds the gateway from its settings, starts it, ends it.

Order of the start: database, contacts, intake — from then on a press is committed — and only then cameras, delivery and the
HTTP face, so that nothing slow stands between a reboot and an armed gateway.

What dies takes down no more than it must. Contacts, intake and delivering are vital: if one ends,
the process ends and its supervisor starts it again, since start-up recovery is the ordinary path. The others, HTTP among them,
are started again alone, with a fault raised.

All of it in one file, since the order of start and end is the point of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from config.settings import Settings
from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.contacts.address import BrokerAddress
from drivers.contacts.formats import CODECS
from drivers.uplinks.webhook import WebhookPath
from gateway.app.api_parts import api_parts
from gateway.app.broker_session import BrokerSession
from gateway.app.data_folder import known_by
from gateway.app.front.limits import raise_descriptors
from gateway.app.http import HttpInterface, bind, host_port
from gateway.app.keys import own_key, register_signer
from gateway.app.neighbours import (
    api_context,
    broker_session,
    camera_spec,
    centre_paths,
    media_push,
    object_store,
)
from gateway.app.operator_socket import OperatorDoor
from gateway.app.siteplan import compile_plan
from gateway.app.stages import (
    AlarmStages,
    ContactStages,
    Found,
    Neighbours,
    RecordingStages,
    Wakes,
    WatchStages,
    alarm_stages,
    contact_stages,
    found_by_stages,
    heartbeats,
    recording_stages,
    watch_stages,
)
from gateway.app.tasks import Tasks
from gateway.box.claim import claim_for_gateway
from gateway.box.clock import SystemClock
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.links import LinkSigner
from gateway.watch.contacts import not_yet_told
from gateway.watch.supervising import Standing, announce_plan
from storage.sql.safe_store import SafeStore

log = structlog.get_logger(__name__)

#: Seconds a ring holds beyond `before_s`: one long group of pictures (10 s) and what arrives while clips are cut.
RING_MARGIN_S = 15
#: Memory all rings may take together: 16 cameras at 4 Mbit/s for 45 s are 360 MB.
RINGS_BYTES = 1024 * 1024 * 1024
HTTP_UP_WITHIN_S = 2.0
OBJECTS_AGAIN_S = 5.0  # a disk that is not mounted yet
BALLAST_EVERY_S = 5.0  # how soon after room was made evidence goes on


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running gateway is reached."""

    http: str
    broker: str


class Gateway:
    """One gateway. Make it inside the running loop, ``await start()``, then ``await wait()``; ``await stop()`` at any time, twice
    without harm."""

    near: Neighbours
    recording: RecordingStages
    alarm: AlarmStages
    contacts: ContactStages
    watch: WatchStages

    def __init__(self, settings: Settings, standing: Sequence[tuple[str, str]] = ()) -> None:
        """``standing`` are things known to be wrong from the start, as ``(subject, cause)``: each is a fault."""
        self._settings = settings
        self.clock = SystemClock()
        self.plan = compile_plan(settings.site, CODECS)
        self.standing = Standing({(FaultKind.SITE, subject): cause for subject, cause in standing})
        self._tasks = Tasks(self.clock, self.standing)
        #: What ends with the gateway, the last first; the inner ones are for what is had later than it ends.
        self._exits = AsyncExitStack()
        self._sockets = ExitStack()
        self._brokers = AsyncExitStack()
        self.http: HttpInterface | None = None

    async def start(self) -> Addresses:
        """Start everything and return once a press would be committed, or the broker cannot be reached.

        Raises ``Refused`` (another gateway runs on this data, an address cannot be had) or ``Unavailable``.
        """
        _make_data_folder(self._settings)
        descriptors = raise_descriptors()
        claim = await claim_for_gateway(self._settings.data_dir, self.clock)
        self._exits.callback(claim.release)
        self._exits.push(self._sockets)
        ran_before, session, store = await self._start_database()
        tls = api_context(self._settings)
        listening, http_url = bind(self._settings.site.http)
        self._sockets.callback(listening.close)
        links = self._links(http_url, ran_before)
        self.near = near = self._neighbours(ran_before, session, store, links)
        self.recording = recording = recording_stages(near)
        self.alarm = alarm = alarm_stages(
            near, recording, lambda complaints: self.watch.supervising.heard(complaints)
        )
        self.contacts = contacts = contact_stages(near, alarm)
        self.watch = watch_stages(near, alarm, contacts, self._found)
        broker_url = await self._arm()
        self.http = HttpInterface(
            api_parts(near, recording, alarm, contacts, self.watch, links, self.readiness),
            listening,
            tls,
            descriptors,
        )
        await self._start_http(self.http)
        self._start_alarm()
        self._start_watch()
        self._start_recording()
        self._start_centre()
        return Addresses(http_url, broker_url)

    async def wait(self) -> None:
        """Return when a vital part has ended, raising what ended it."""
        await self._tasks.wait()

    async def stop(self) -> None:
        """End every part; what is committed is on disk, what is not acknowledged is at the broker."""
        await self._tasks.stop()
        await self._exits.aclose()
        self._tasks.ended()

    def commits(self) -> bool:
        """Whether a press that came would be committed, whether the broker is there or not."""
        return self.near.store.commits

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether a press would be committed now, and what is not as it should be."""
        watching, supervising = self.contacts.watching, self.watch.supervising
        found = {*supervising.open_faults, *not_yet_told(watching.hearing())}
        degraded = sorted(f"{kind.value}:{subject}" for kind, subject in found)
        return self.contacts.feed.armed and self.commits(), degraded

    # What the stages stand on.

    async def _start_database(self) -> tuple[bool, BrokerSession | None, SafeStore]:
        """Whether a gateway ran on this data before, what the broker keeps for it, and the database."""
        settings, database = self._settings, self._settings.database_file
        if database is None:
            raise Refused("storage: this version keeps its database in sqlite: only")
        # Not Path.exists, which raises where the disk fails.
        exists = await asyncio.to_thread(os.path.exists, database)
        ran_before = exists or bool(await asyncio.to_thread(known_by, settings))
        session = broker_session(settings, self.clock, upgraded=ran_before)
        store = SafeStore(database, self.clock, known_by=partial(known_by, settings), broken=self._tasks.fail)
        self._exits.push_async_callback(store.stop)
        await store.start()
        return ran_before, session, store

    def _links(self, http_url: str, ran_before: bool) -> LinkSigner:
        own = own_key(self._settings.data_dir / "link.key", expected=ran_before)
        self._tell_of_key("link-key", own.cause and f"{own.cause}. Links sent before no longer open")
        return LinkSigner(own.key, (self._settings.site.http.public_url or http_url).rstrip("/"))

    def _neighbours(
        self, ran_before: bool, session: BrokerSession | None, store: SafeStore, links: LinkSigner
    ) -> Neighbours:
        settings, site = self._settings, self._settings.site
        paths = centre_paths(settings, self.clock)
        envelopes = Envelopes(
            site=self.plan,
            links=links,
            media_link_s=site.http.media_link_s,
            live_link_s=site.http.live_link_s,
            media_url=(site.centre.media_url or "").rstrip("/") if site.centre.media == "push" else None,
            clock_offset=partial(_clock_offset, paths),
        )
        wakes = Wakes()
        cameras = SubprocessCameraBank(
            [camera_spec(c) for c in site.cameras],
            ring_s=site.evidence.before_s + RING_MARGIN_S,
            ring_bytes_total=RINGS_BYTES,
            spool=settings.data_dir / "spool",
            clock=self.clock,
            recordings=settings.data_dir / "recording",
            segment_closed=wakes.taking.set,
        )
        objects = object_store(settings, self.clock, partial(_anything_on_record, store))
        media = media_push(settings)
        signer, spoiled = register_signer(settings.data_dir / "register.key", expected=ran_before)
        self._tell_of_key("register-key-file", spoiled)
        self._exits.push_async_callback(objects.stop)
        self._exits.push_async_exit(self._brokers)
        self._exits.push_async_callback(cameras.stop)
        if media is not None:
            self._exits.push_async_callback(media.stop)
        for path in reversed(paths):
            self._exits.push_async_callback(path.stop)
        return Neighbours(
            settings=settings,
            plan=self.plan,
            clock=self.clock,
            store=store,
            envelopes=envelopes,
            cameras=cameras,
            objects=objects,
            paths=paths,
            media=media,
            session=session,
            signer=signer,
            standing=self.standing,
            wakes=wakes,
        )

    # Starting.

    async def _arm(self) -> str:
        """Contacts and intake: after this a press is committed."""
        mqtt, feed = self._settings.site.mqtt, self.contacts.feed
        broker: Any = None
        if mqtt.embedded:
            from drivers.contacts.embedded import EmbeddedBroker

            broker = EmbeddedBroker()
            self._brokers.push_async_callback(broker.stop)
            await broker.start()
            address = BrokerAddress(
                host="127.0.0.1", port=broker.private_port, client_id=self._settings.mqtt_client_id
            )
            feed.move_to(address)
            self.standing.causes[FaultKind.BROKER, "embedded"] = (
                "the embedded broker keeps nothing over a restart and is for demo and bench only; "
                "install mosquitto and set mqtt.url"
            )
        self._tasks.vital("intake", self.contacts.intake.run())
        self._tasks.vital("contacts", feed.run(self.contacts.receive))
        self._tasks.vital("database", self.near.store.run())
        if broker is None:
            return mqtt.url
        async with asyncio.timeout(10):
            await feed.wait_armed()
        host, port = await broker.open(*host_port(mqtt.listen))
        return f"mqtt://{host}:{port}"

    async def _start_http(self, http: HttpInterface) -> None:
        self._tasks.restarted("http", http.run)
        # What follows imports much, in threads; whoever waits for /readyz should not wait for that.
        with suppress(TimeoutError):
            await asyncio.wait_for(http.up.wait(), HTTP_UP_WITHIN_S)

    def _start_alarm(self) -> None:
        self._tasks.vital("delivering", self._run_delivering())
        self._tasks.restarted("cameras", self._run_cameras)
        self._tasks.restarted("store", self._start_objects, once=True)
        self._tasks.restarted("gathering", self.alarm.gathering.run)

    def _start_watch(self) -> None:
        contacts, watch, session = self.contacts, self.watch, self.near.session
        self._tasks.restarted("watching", contacts.watching.run)
        self._tasks.restarted("doubting", contacts.doubting.run)
        if session is not None:
            self._tasks.restarted("broker session", session.run)
        if contacts.confirming.wanted:
            self._tasks.restarted("confirming", contacts.confirming.run)
        self._tasks.restarted("supervising", watch.supervising.run)
        self._tasks.restarted("certifying", watch.certifying.run)
        self._tasks.restarted("ballast", self._keep_ballast)
        self._tasks.restarted("registering", watch.registering.run)
        self._tasks.restarted("witnessing", watch.witnessing.run)
        self._tasks.restarted("configuration", self._register_configuration, once=True)

    def _start_recording(self) -> None:
        recording = self.recording
        self._tasks.restarted("keeping", recording.keeping.run)
        if recording.locking is not None:
            self._tasks.restarted("locking", recording.locking.run)
        self._tasks.restarted("recording", self._run_recording)
        self._tasks.restarted("exports", recording.exporting.clear, once=True)

    def _start_centre(self) -> None:
        """Drills, and what the centre is told besides alarms."""
        near, alarm, drilling = self.near, self.alarm, self.alarm.drilling
        self._tasks.restarted("drilling", drilling.run)
        self._tasks.restarted("operator", OperatorDoor(self._settings.data_dir, drilling, self.clock).run)
        self._tasks.restarted("plan", self._announce_plan, once=True)
        if near.media is not None:
            self._tasks.restarted("media", self._run_push)
        for name, heartbeat in heartbeats(near, self.recording, alarm, self.contacts, self.watch):
            self._tasks.restarted(f"heartbeat-{name}", heartbeat.run)

    # What runs.

    async def _run_delivering(self) -> None:
        for path in self.near.paths:
            await path.start()
        await self.alarm.delivering.run()

    async def _run_push(self) -> None:
        media, pushing, showing = self.near.media, self.alarm.pushing, self.alarm.showing
        assert media is not None
        assert pushing is not None
        assert showing is not None
        await media.start()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(pushing.run(), name="pushing")
            stages.create_task(showing.run(), name="showing")

    async def _run_recording(self) -> None:
        await self.recording.ledger.resume()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self.recording.taking.run(), name="taking")
            stages.create_task(self.recording.gap_watch.run(), name="gap watch")

    async def _run_cameras(self) -> None:
        await self.near.cameras.start()
        await self.near.cameras.run()

    async def _keep_ballast(self) -> None:
        while True:
            await asyncio.to_thread(self.near.store.fill_ballast)
            await self.clock.sleep(BALLAST_EVERY_S)

    async def _start_objects(self) -> None:
        """Until it is there: what is captured waits meanwhile, and whoever needs the store says that it is away."""
        while True:
            try:
                await self.near.objects.start()
                return
            except Unavailable as exc:
                log.error("store.not_started", cause=exc.reason)
                await self.clock.sleep(OBJECTS_AGAIN_S)

    async def _announce_plan(self) -> None:
        near = self.near
        await announce_plan(near.store, self.clock, near.envelopes, near.wakes.delivering.set)

    async def _register_configuration(self) -> None:
        if cause := await self.watch.registering.configured(self._settings.text_sha256):
            self.standing.causes[FaultKind.STORE, "register-key"] = cause

    # What is told.

    def _tell_of_key(self, subject: str, cause: str) -> None:
        if cause:
            log.error("key.not_kept", subject=subject, cause=cause)
            self.standing.causes[FaultKind.STORE, subject] = cause

    def _found(self, now: datetime) -> Iterator[Found]:
        of_http = self.http.found() if self.http is not None else ()
        return found_by_stages(
            self.near, self.recording, self.alarm, self.contacts, self.watch.certifying, of_http, now
        )


def _make_data_folder(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Refused(
            f"the data folder {settings.data_dir} cannot be made ({exc.strerror or exc}); name another with --data-dir, or "
            "make it and give it to this user"
        ) from None


def _clock_offset(paths: Sequence[WebhookPath]) -> int | None:
    """Seconds that the centre's clock is ahead, while a path's signatures bear its time."""
    found = (path.clocks_apart for path in paths)
    return next((apart.by_s for apart in found if apart is not None and apart.used), None)


async def _anything_on_record(store: SafeStore) -> bool:
    return await store.read(lambda tx: bool(tx.recordings.by_key("", 1) or tx.evidence.by_key("", 1)))
