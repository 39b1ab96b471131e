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
import random
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from config.addresses import Url
from config.settings import Settings
from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.parent.exporter import SubprocessJoiner
from drivers.cameras.parent.recorded import SpooledRecordings
from drivers.contacts.address import BrokerAddress
from drivers.contacts.formats import CODECS, liveness
from drivers.contacts.mqtt import MqttFeed
from drivers.tls.contexts import TlsFiles, client_context
from drivers.uplinks.media_push import MediaPush
from gateway.alarm.answer_bodies import Hearing
from gateway.alarm.answering import Answering
from gateway.alarm.confirming import Confirming
from gateway.alarm.delivering import Delivering
from gateway.alarm.drilling import Drilling
from gateway.alarm.gathering import Gathering
from gateway.alarm.intake import Intake
from gateway.alarm.live_push import Showing
from gateway.alarm.pushing import Pushing
from gateway.alarm.shared_cameras import SharedCameras
from gateway.alarm.starts import Starts
from gateway.api.alarm.items import read_item
from gateway.api.parts import ApiParts
from gateway.app.data_folder import known_by, witnesses
from gateway.app.front.limits import raise_descriptors
from gateway.app.http import HttpInterface, bind, callers, contact_health, host_port
from gateway.app.keys import own_key, register_signer
from gateway.app.neighbours import (
    api_context,
    broker_address,
    broker_session,
    camera_spec,
    centre_paths,
    media_push,
    object_store,
    take_up,
    tls_peers,
    tls_sections,
)
from gateway.app.operator_socket import OperatorDoor
from gateway.app.siteplan import compile_plan
from gateway.app.tasks import Tasks
from gateway.app.telemetry import prometheus_text, samples
from gateway.box.claim import Claim, claim_for_gateway
from gateway.box.clock import SystemClock
from gateway.box.wake import Wake
from gateway.domain.certificate import Certificate
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.fault import FaultKind
from gateway.domain.links import LinkSigner
from gateway.domain.message import Answer
from gateway.domain.room import Room
from gateway.domain.uplink import PathHealth
from gateway.ports.contacts import ContactMessage
from gateway.recording.exporting import Exporting
from gateway.recording.gap_watch import GapWatch
from gateway.recording.ledger import Ledger
from gateway.recording.object_locks import Locking
from gateway.recording.retention import Keeping
from gateway.recording.spool_room import SpoolRoom
from gateway.recording.taking import Taking
from gateway.watch.access_register import Registering
from gateway.watch.certificates import Certifying, Peer
from gateway.watch.contacts import Watching, not_yet_told
from gateway.watch.doubts import Doubting
from gateway.watch.supervising import Heartbeat, Standing, Supervising, announce_plan
from gateway.watch.witness import Witnessing
from storage.spool import Spool
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


@dataclass(frozen=True, slots=True)
class Wakes:
    """Made before the stages that wait for them and those that set them."""

    delivering: Wake = field(default_factory=Wake)
    pushing: Wake = field(default_factory=Wake)
    confirming: Wake = field(default_factory=Wake)
    showing: Wake = field(default_factory=Wake)
    taking: Wake = field(default_factory=Wake)


class Gateway:
    """One gateway. Make it inside the running loop, ``await start()``, then ``await wait()``; ``await stop()`` at any time, twice
    without harm."""

    def __init__(self, settings: Settings, standing: Sequence[tuple[str, str]] = ()) -> None:
        """``standing`` are things known to be wrong from the start, as ``(subject, cause)``: each is a fault."""
        self._settings = settings
        site = settings.site
        self.clock = SystemClock()
        self.plan = compile_plan(site, CODECS)
        self.standing = Standing({(FaultKind.SITE, subject): cause for subject, cause in standing})
        self._tasks = Tasks(self.clock, self.standing)
        self.wakes = Wakes()
        self._claim: Claim | None = None
        self._broker: Any = None
        self.media: MediaPush | None = None
        self.http: HttpInterface | None = None
        self._socket: socket.socket | None = None
        self.addresses = Addresses("", "")

    async def start(self) -> Addresses:
        """Start everything and return once a press would be committed, or the broker cannot be reached.

        Raises ``Refused`` (another gateway runs on this data, an address cannot be had) or ``Unavailable``.
        """
        settings, site = self._settings, self._settings.site
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise Refused(
                f"the data folder {settings.data_dir} cannot be made ({exc.strerror or exc}); name another with --data-dir, or "
                "make it and give it to this user"
            ) from None
        self._descriptors = raise_descriptors()
        self._claim = await claim_for_gateway(settings.data_dir, self.clock)
        database = settings.database_file
        if database is None:
            raise Refused("storage: this version keeps its database in sqlite: only")
        # Not Path.exists, which raises where the disk fails.
        exists = await asyncio.to_thread(os.path.exists, database)
        self._ran_before = exists or bool(await asyncio.to_thread(known_by, settings))
        self.session = broker_session(settings, self.clock, upgraded=self._ran_before)
        self.store = SafeStore(
            database, self.clock, known_by=partial(known_by, settings), broken=self._tasks.fail
        )
        await self.store.start()
        self._api_tls = api_context(settings)
        self._socket, http_url = bind(site.http)
        public_url = (site.http.public_url or http_url).rstrip("/")
        own = own_key(settings.data_dir / "link.key", expected=self._ran_before)
        self._tell_of_key("link-key", own.cause and f"{own.cause}. Links sent before no longer open")
        self.links = LinkSigner(own.key, public_url)
        self.envelopes = Envelopes(
            site=self.plan,
            links=self.links,
            media_link_s=site.http.media_link_s,
            live_link_s=site.http.live_link_s,
            media_url=(site.centre.media_url or "").rstrip("/") if site.centre.media == "push" else None,
            clock_offset=self._clock_offset,
        )
        self.cameras = SubprocessCameraBank(
            [camera_spec(c) for c in site.cameras],
            ring_s=site.evidence.before_s + RING_MARGIN_S,
            ring_bytes_total=RINGS_BYTES,
            spool=settings.data_dir / "spool",
            clock=self.clock,
            recordings=settings.data_dir / "recording",
            segment_closed=self.wakes.taking.set,
        )
        self.objects = object_store(settings, self.clock, self._anything_on_record)
        self._build_stages()
        broker_url = await self._arm()
        await self._start_rest()
        self.addresses = Addresses(http_url, broker_url)
        return self.addresses

    async def wait(self) -> None:
        """Return when a vital part has ended, raising what ended it."""
        await self._tasks.wait()

    async def stop(self) -> None:
        """End every part; what is committed is on disk, what is not acknowledged is at the broker."""
        await self._tasks.stop()
        if hasattr(self, "paths"):
            for path in self.paths:
                await path.stop()
            if self.media is not None:
                await self.media.stop()
        if hasattr(self, "cameras"):
            await self.cameras.stop()
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None
        if hasattr(self, "objects"):
            await self.objects.stop()
        if hasattr(self, "store"):
            await self.store.stop()
        if self._socket is not None:
            self._socket.close()
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        self._tasks.ended()

    # Building.

    def _build_stages(self) -> None:
        settings, site = self._settings, self._settings.site
        self.paths = centre_paths(self._settings, self.clock)
        self.delivering = Delivering(
            store=self.store,
            clock=self.clock,
            paths=self.paths,
            chance=random.Random(),
            hear=lambda message, answer: self.hearing.hear(message, answer),
            received=self.wakes.confirming.set,
            wake=self.wakes.delivering,
        )
        self.media = media_push(self._settings)
        self.pushing: Pushing | None = None
        self.showing: Showing | None = None
        outward = Wake(self.wakes.delivering.set, self.wakes.pushing.set)  # something for the centre
        self.gathering = Gathering(
            store=self.store,
            clock=self.clock,
            cameras=SharedCameras(self.cameras, self.clock),
            objects=self.objects,
            envelopes=self.envelopes,
            spool=Spool(settings.data_dir / "spool"),
            wake_delivering=outward.set,
            no_room=lambda: self.store.ballast_spent,
            locked_until=self._locked_until,
        )
        # An alarm may have opened, closed, or been asked something.
        about_alarms = Wake(self.gathering.wake, self.wakes.confirming.set, self.wakes.showing.set)
        self.answering = Answering(
            store=self.store,
            clock=self.clock,
            envelopes=self.envelopes,
            wake_delivering=self.wakes.delivering.set,
            wake_gathering=about_alarms.set,
        )
        points = list(self.plan.points.values())
        self.watching = Watching(
            store=self.store,
            clock=self.clock,
            points=points,
            decode=liveness.decode,
            armed=lambda: self.feed.armed,
            refused=lambda: self.feed.refused,
            undelivered=lambda: self.feed.undelivered,
        )
        self.starts = Starts(points, liveness.decode)
        self.doubting = Doubting(
            store=self.store, clock=self.clock, points=points, stamp=self.envelopes.stamp
        )
        signer, spoiled = register_signer(settings.data_dir / "register.key", expected=self._ran_before)
        self._tell_of_key("register-key-file", spoiled)
        self.registering = Registering(
            store=self.store,
            clock=self.clock,
            site=site.site.id,
            signer=signer,
            tell=self._tell_of_register,
        )
        self.exporting = Exporting(
            store=self.store,
            clock=self.clock,
            objects=self.objects,
            cameras=self.cameras,
            site=self.plan,
            signer=signer,
            joiner=SubprocessJoiner(),
            folder=settings.data_dir / "exports",
            software=f"campus-gateway {version('campus-gateway')}",
            reserve_bytes=int(site.storage.reserve_gb * 1e9),
        )
        self.keeping = Keeping(
            store=self.store,
            clock=self.clock,
            objects=self.objects,
            site=self.plan,
            steps=site.storage.when_full,
            reserve_bytes=int(site.storage.reserve_gb * 1e9),
            room=self._objects_room,
            losses=self.store,
        )
        self.witnessing = Witnessing(
            store=self.store,
            clock=self.clock,
            witnesses=witnesses(settings),
            losses=self.store,
            objects=self.objects,
            prefix=f"{site.site.id}/",
        )
        self.ledger = Ledger(store=self.store, clock=self.clock, site=self.plan)
        self.taking = Taking(
            ledger=self.ledger,
            clock=self.clock,
            objects=self.objects,
            files=SpooledRecordings(settings.data_dir / "recording"),
            reckoned=self.keeping.reckoned,
            locked_until=self._locked_until,
            wake=self.wakes.taking,
        )
        self.gap_watch = GapWatch(
            ledger=self.ledger,
            clock=self.clock,
            cameras=self.cameras,
            site=self.plan,
            spool=SpoolRoom(
                self.clock,
                lambda: shutil.disk_usage(settings.data_dir).free,
                reserve_bytes=int(site.storage.reserve_gb * 1e9),
            ),
            allowed=self.keeping.allowed,
            give_way=self.cameras.give_way,
        )
        self.locking: Locking | None = None
        if settings.objects_dir is None:  # files are locked by nobody (storage/DESIGN.md)
            self.locking = Locking(
                store=self.store,
                clock=self.clock,
                objects=self.objects,
                retention_days=site.storage.retention_days,
                confirmed=self.keeping.clock_confirmed,
                required=site.storage.lock == "required",
            )
        self.drilling = Drilling(
            store=self.store,
            clock=self.clock,
            envelopes=self.envelopes,
            cameras=self.cameras,
            can_sign=site.centre.webhook.drill_secret is not None,
            wake_delivering=self.wakes.delivering.set,
            wake_gathering=about_alarms.set,
        )
        if self.media is not None:
            self._build_push(self.media)
        self.hearing = Hearing(
            store=self.store,
            clock=self.clock,
            read_item=read_item,
            say=self.answering.say,
            said=self.answering.said,
            complain=lambda complaints: self.supervising.heard(complaints),
        )
        self.intake = Intake(
            store=self.store,
            clock=self.clock,
            envelopes=self.envelopes,
            cameras=self.cameras,
            codecs=CODECS,
            points=points,
            offer=self.delivering.offer,
            wake_gathering=about_alarms.set,
            armed=self.drilling.armed,
            saw=self.watching.saw,
            starts=self.starts,
        )
        self.feed = MqttFeed(
            broker_address(settings, self.session.client_id if self.session else None),
            self.intake.topics,
            self.clock,
            beside=self.watching.topics | self.starts.announce_topics,
            memory=self.session,
        )
        self.confirming = Confirming(
            store=self.store, clock=self.clock, points=points, publisher=self.feed, wake=self.wakes.confirming
        )
        self.supervising = Supervising(
            store=self.store,
            clock=self.clock,
            envelopes=self.envelopes,
            cameras=self.cameras,
            feed=self.feed,
            paths=self._path_health(),
            gone=self.delivering.gone,
            store_cause=lambda: self.gathering.store_cause,
            drill_causes=lambda: self.drilling.causes,
            wake_delivering=self.wakes.delivering.set,
            data_dir=settings.data_dir,
            reserve_bytes=int(site.storage.reserve_gb * 1e9),
            database_full=lambda: self.store.ballast_spent,
            standing=self.standing,
            found_elsewhere=self._found,
        )
        self.certifying = self._certifying()

    def _certifying(self) -> Certifying:
        settings = self._settings
        return Certifying(
            clock=self.clock,
            files=settings.certificate_files,
            keys={
                f"{name}.key": files.key
                for name, files in tls_sections(settings).items()
                if files.key is not None
            },
            read=_read_certificates,
            take_up=lambda: take_up(settings),
            peers={
                key: Peer(f"{address.host}:{address.port}", partial(self._see, address, files))
                for key, (address, files) in tls_peers(settings).items()
            },
        )

    def _see(self, address: Url, files: TlsFiles) -> Certificate | None:
        from drivers.tls.examining import (
            examine,
        )  # brings the certificate library: not before the contacts are armed

        try:
            found = examine(address.host, address.port, client_context(files), self.clock.now())
        except Refused:
            return None  # told as files that cannot be used
        return (
            None if found.problem else found.peer
        )  # a handshake that fails is the path's or the broker's own fault

    def _receive(self, message: ContactMessage) -> None:
        self.starts.hear(message)
        if message.topic in self.watching.topics:
            self.watching.receive(message)
        elif message.topic in self.starts.announce_topics:
            message.acknowledge()
        else:
            self.intake.receive(message)

    def _build_push(self, media: MediaPush) -> None:
        """With ``media: push``: what PUTs evidence and live pictures."""
        self.pushing = Pushing(
            store=self.store,
            clock=self.clock,
            uplink=media,
            objects=self.objects,
            envelopes=self.envelopes,
            chance=random.Random(),
            uploaded=Wake(self.wakes.delivering.set, self.gathering.wake).set,
            wake=self.wakes.pushing,
        )
        self.showing = Showing(
            store=self.store,
            clock=self.clock,
            cameras=self.cameras,
            uplink=media,
            envelopes=self.envelopes,
            heard=self.pushing.heard,
            give_way=self.pushing.give_way,
            wake=self.wakes.showing,
        )

    def _path_health(self) -> list[PathHealth]:
        return [*self.delivering.health, *([self.pushing.health] if self.pushing is not None else [])]

    def _found(self, now: datetime) -> Iterator[tuple[tuple[FaultKind, str], str]]:
        """What the stages themselves find wrong."""
        of_broker = (*self.feed.found(), *(self.session.found() if self.session else ()))
        yield from (((FaultKind.BROKER, subject), cause) for subject, cause in of_broker)
        yield from self.store.found()
        for path in self.paths:
            if (apart := path.clocks_apart) is not None and apart.used:
                yield (FaultKind.CLOCK, f"path-{path.name}"), apart.words(path.name, self.envelopes.stamp)
        for name, cause in self.delivering.pages.items():
            yield (FaultKind.CENTRE, f"page-{name}"), cause
        yield from self.watching.found()
        yield from self.doubting.found()
        yield from self.intake.found()
        yield from self.confirming.found()
        yield from self.certifying.observed(now)
        yield from self.keeping.causes.items()
        yield from self.gap_watch.causes.items()
        yield from self.taking.causes.items()
        if self.http is not None:
            yield from self.http.found()
        yield from self.cameras.causes.items()
        for stage in (self.pushing, self.showing, self.locking):
            if stage is not None:
                yield from stage.causes.items()

    def _locked_until(self, end: datetime) -> datetime | None:
        return None if self.locking is None else self.locking.until(end)

    def _objects_room(self) -> Room | None:
        """The disk that recordings and evidence lie on, if it is one of this box."""
        root = self._settings.objects_dir
        if root is None:
            return None
        usage = shutil.disk_usage(root if root.exists() else self._settings.data_dir)
        return Room(total=usage.total, free=usage.free)

    def _clock_offset(self) -> int | None:
        """Seconds that the centre's clock is ahead, while a path's signatures bear its time."""
        found = (path.clocks_apart for path in getattr(self, "paths", ()))
        return next((apart.by_s for apart in found if apart is not None and apart.used), None)

    def _beat_answered(self, number: int, answer: Answer) -> None:
        self.delivering.heartbeat_answered(number, answer)
        if answer.said_at is not None:
            self.keeping.heard_time(answer.said_at, self._settings.site.centre.name)

    # Starting.

    async def _arm(self) -> str:
        """Contacts and intake: after this a press is committed."""
        mqtt = self._settings.site.mqtt
        if mqtt.embedded:
            from drivers.contacts.embedded import EmbeddedBroker

            self._broker = EmbeddedBroker()
            await self._broker.start()
            address = BrokerAddress(
                host="127.0.0.1", port=self._broker.private_port, client_id=self._settings.mqtt_client_id
            )
            self.feed.move_to(address)
            self.standing.causes[FaultKind.BROKER, "embedded"] = (
                "the embedded broker keeps nothing over a restart and is for demo and bench only; "
                "install mosquitto and set mqtt.url"
            )
        self._tasks.vital("intake", self.intake.run())
        self._tasks.vital("contacts", self.feed.run(self._receive))
        self._tasks.vital("database", self.store.run())
        if not mqtt.embedded:
            return mqtt.url
        async with asyncio.timeout(10):
            await self.feed.wait_armed()
        host, port = await self._broker.open(*host_port(mqtt.listen))
        return f"mqtt://{host}:{port}"

    async def _start_rest(self) -> None:
        assert self._socket is not None
        http = self.http = HttpInterface(self._api_parts(), self._socket, self._api_tls, self._descriptors)
        self._tasks.restarted("http", http.run)
        # What follows imports much, in threads; whoever waits for /readyz should not wait for that.
        with suppress(TimeoutError):
            await asyncio.wait_for(http.up.wait(), HTTP_UP_WITHIN_S)
        self._tasks.vital("delivering", self._run_delivering())
        self._tasks.restarted("cameras", self._run_cameras)
        self._tasks.restarted("store", self._start_objects, once=True)
        self._tasks.restarted("gathering", self.gathering.run)
        self._tasks.restarted("watching", self.watching.run)
        self._tasks.restarted("doubting", self.doubting.run)
        if self.session is not None:
            self._tasks.restarted("broker session", self.session.run)
        if self.confirming.wanted:
            self._tasks.restarted("confirming", self.confirming.run)
        self._tasks.restarted("supervising", self.supervising.run)
        self._tasks.restarted("certifying", self.certifying.run)
        self._tasks.restarted("ballast", self._keep_ballast)
        self._tasks.restarted("registering", self.registering.run)
        self._tasks.restarted("witnessing", self.witnessing.run)
        self._tasks.restarted("configuration", self._register_configuration, once=True)
        self._tasks.restarted("keeping", self.keeping.run)
        if self.locking is not None:
            self._tasks.restarted("locking", self.locking.run)
        self._tasks.restarted("recording", self._run_recording)
        self._tasks.restarted("exports", self.exporting.clear, once=True)
        self._tasks.restarted("drilling", self.drilling.run)
        self._tasks.restarted(
            "operator", OperatorDoor(self._settings.data_dir, self.drilling, self.clock).run
        )
        self._tasks.restarted("plan", self._announce_plan, once=True)
        if self.media is not None:
            self._tasks.restarted("media", self._run_push)
        for number, path in enumerate(self.paths):
            heartbeat = Heartbeat(
                number=number,
                path=path,
                store=self.store,
                clock=self.clock,
                envelopes=self.envelopes,
                supervising=self.supervising,
                undelivered=lambda: self.delivering.undelivered,
                answered=self._beat_answered,
                heard_at=lambda: self.answering.last_heard_at,
                hearing=self.watching.hearing,
                signed=self.registering.signed,
                take=self.hearing.take,
            )
            self._tasks.restarted(f"heartbeat-{path.name}", heartbeat.run)

    async def _run_delivering(self) -> None:
        for path in self.paths:
            await path.start()
        await self.delivering.run()

    async def _run_push(self) -> None:
        assert self.media is not None
        assert self.pushing is not None
        assert self.showing is not None
        await self.media.start()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self.pushing.run(), name="pushing")
            stages.create_task(self.showing.run(), name="showing")

    async def _run_recording(self) -> None:
        await self.ledger.resume()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self.taking.run(), name="taking")
            stages.create_task(self.gap_watch.run(), name="gap watch")

    async def _announce_plan(self) -> None:
        await announce_plan(self.store, self.clock, self.envelopes, self.wakes.delivering.set)

    async def _register_configuration(self) -> None:
        if cause := await self.registering.configured(self._settings.text_sha256):
            self.standing.causes[FaultKind.STORE, "register-key"] = cause

    def _tell_of_key(self, subject: str, cause: str) -> None:
        if cause:
            log.error("key.not_kept", subject=subject, cause=cause)
            self.standing.causes[FaultKind.STORE, subject] = cause

    def _tell_of_register(self, cause: str) -> None:
        if cause:
            self.standing.causes[FaultKind.STORE, "register"] = cause
        else:
            self.standing.causes.pop((FaultKind.STORE, "register"), None)

    async def _run_cameras(self) -> None:
        await self.cameras.start()
        await self.cameras.run()

    async def _keep_ballast(self) -> None:
        while True:
            await asyncio.to_thread(self.store.fill_ballast)
            await self.clock.sleep(BALLAST_EVERY_S)

    async def _anything_on_record(self) -> bool:
        return await self.store.read(
            lambda tx: bool(tx.recordings.by_key("", 1) or tx.evidence.by_key("", 1))
        )

    async def _start_objects(self) -> None:
        """Until it is there: what is captured waits meanwhile, and whoever needs the store says that it is away."""
        while True:
            try:
                await self.objects.start()
                return
            except Unavailable as exc:
                log.error("store.not_started", cause=exc.reason)
                await self.clock.sleep(OBJECTS_AGAIN_S)

    def _api_parts(self) -> ApiParts:
        site = self._settings.site
        return ApiParts(
            site=self.plan,
            store=self.store,
            clock=self.clock,
            answering=self.answering,
            drilling=self.drilling,
            registering=self.registering,
            exporting=self.exporting,
            keeping=self.keeping,
            cameras=self.cameras,
            objects=self.objects,
            envelopes=self.envelopes,
            links=self.links,
            tokens=callers(site.access),
            readiness=self.readiness,
            last_seen=self.watching.last_seen,
            contact_health=partial(contact_health, self.watching, self.doubting, self.intake),
            metrics=self._metrics,
            version=version("campus-gateway"),
            centre_name=site.centre.name,
        )

    def commits(self) -> bool:
        """Whether a press that came would be committed, whether the broker is there or not."""
        return self.store.commits

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether a press would be committed now, and what is not as it should be."""
        found = {*self.supervising.open_faults, *not_yet_told(self.watching.hearing())}
        return self.feed.armed and self.store.commits, sorted(f"{k.value}:{subject}" for k, subject in found)

    def _metrics(self) -> bytes:
        return prometheus_text(
            samples(
                armed=self.feed.armed,
                presses=self.intake.admitted_total,
                quarantined=self.intake.quarantined_total,
                undelivered=self.delivering.undelivered,
                paths=self._path_health(),
                cameras=self.cameras.health(),
                fault_kinds=[kind.value for kind, _ in self.supervising.open_faults],
            )
        )


def _read_certificates(path: Path) -> list[Certificate]:
    from drivers.tls.reading import read_certificates  # as in Gateway._see

    return read_certificates(path)
