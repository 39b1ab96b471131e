"""Builds the stages, in the order in which they depend: who is handed to another is made before it.

One function for each part of the way: recordings, alarms, contacts, and what watches over them. All of them in one file, since
the order in which they depend on each other is the point of it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from config.addresses import Url
from config.settings import Settings
from drivers.cameras.parent.bank import SubprocessCameraBank
from drivers.cameras.parent.exporter import SubprocessJoiner
from drivers.cameras.parent.recorded import SpooledRecordings
from drivers.contacts.formats import CODECS, liveness
from drivers.contacts.mqtt import MqttFeed
from drivers.tls.contexts import TlsFiles, client_context
from drivers.uplinks.media_push import MediaPush
from drivers.uplinks.webhook import WebhookPath
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
from gateway.app.broker_session import BrokerSession
from gateway.app.data_folder import witnesses
from gateway.app.neighbours import broker_address, take_up, tls_peers, tls_sections
from gateway.box.clock import SystemClock
from gateway.box.wake import Wake
from gateway.domain.answer import Complaint
from gateway.domain.certificate import Certificate
from gateway.domain.envelope import Envelopes
from gateway.domain.errors import Refused
from gateway.domain.fault import FaultKind
from gateway.domain.message import Answer
from gateway.domain.plan import Point, Site
from gateway.domain.room import Room
from gateway.domain.uplink import PathHealth
from gateway.ports.contacts import ContactMessage
from gateway.ports.recordings import Signer
from gateway.recording.exporting import Exporting
from gateway.recording.gap_watch import GapWatch
from gateway.recording.ledger import Ledger
from gateway.recording.object_locks import Locking
from gateway.recording.retention import Keeping
from gateway.recording.spool_room import SpoolRoom
from gateway.recording.taking import Taking
from gateway.watch.access_register import Registering
from gateway.watch.certificates import Certifying, Peer
from gateway.watch.contacts import Watching
from gateway.watch.doubts import Doubting
from gateway.watch.supervising import Heartbeat, Standing, Supervising
from gateway.watch.witness import Witnessing
from storage.objects.local import LocalObjects
from storage.objects.s3 import S3Objects
from storage.spool import Spool
from storage.sql.safe_store import SafeStore

Found = tuple[tuple[FaultKind, str], str]


@dataclass(frozen=True, slots=True)
class Wakes:
    """Made before the stages that wait for them and those that set them."""

    delivering: Wake = field(default_factory=Wake)
    pushing: Wake = field(default_factory=Wake)
    confirming: Wake = field(default_factory=Wake)
    showing: Wake = field(default_factory=Wake)
    taking: Wake = field(default_factory=Wake)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What all stages stand on: the site, the clock, the database, and who is spoken to. ``media`` and ``session`` are ``None``
    where the centre fetches, and where the broker keeps no session for the gateway."""

    settings: Settings
    plan: Site
    clock: SystemClock
    store: SafeStore
    envelopes: Envelopes
    cameras: SubprocessCameraBank
    objects: LocalObjects | S3Objects
    paths: Sequence[WebhookPath]
    media: MediaPush | None
    session: BrokerSession | None
    signer: Signer
    standing: Standing
    wakes: Wakes

    @property
    def points(self) -> list[Point]:
        return list(self.plan.points.values())

    @property
    def reserve_bytes(self) -> int:
        return int(self.settings.site.storage.reserve_gb * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStages:
    """The life of a recording. Without ``locking`` nothing is locked: files are locked by nobody (storage/DESIGN.md)."""

    keeping: Keeping
    locking: Locking | None
    ledger: Ledger
    taking: Taking
    gap_watch: GapWatch
    exporting: Exporting

    def locked_until(self, end: datetime) -> datetime | None:
        return _locked_until(self.locking, end)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmStages:
    """The life of an alarm once it is raised; ``pushing`` and ``showing`` with ``media: push`` only. ``about_alarms``: an alarm
    may have opened, closed, or been asked something."""

    about_alarms: Wake
    gathering: Gathering
    answering: Answering
    hearing: Hearing
    delivering: Delivering
    pushing: Pushing | None
    showing: Showing | None
    drilling: Drilling

    def path_health(self) -> list[PathHealth]:
        return [*self.delivering.health, *([self.pushing.health] if self.pushing is not None else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactStages:
    """The contacts: what raises alarms, what watches over contacts, and what tells them."""

    watching: Watching
    starts: Starts
    doubting: Doubting
    intake: Intake
    feed: MqttFeed
    confirming: Confirming

    def receive(self, message: ContactMessage) -> None:
        """The feed's message to whom it concerns."""
        self.starts.hear(message)
        if message.topic in self.watching.topics:
            self.watching.receive(message)
        elif message.topic in self.starts.announce_topics:
            message.acknowledge()
        else:
            self.intake.receive(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStages:
    """Whether everything is well."""

    registering: Registering
    witnessing: Witnessing
    supervising: Supervising
    certifying: Certifying


def recording_stages(near: Neighbours) -> RecordingStages:
    """Of what is recorded: how long it stays, how it is locked, taken, watched over and exported."""
    settings, storage = near.settings, near.settings.site.storage
    keeping = Keeping(
        store=near.store,
        clock=near.clock,
        objects=near.objects,
        site=near.plan,
        steps=storage.when_full,
        reserve_bytes=near.reserve_bytes,
        room=partial(_objects_room, settings),
        losses=near.store,
    )
    locking = None
    if settings.objects_dir is None:
        locking = Locking(
            store=near.store,
            clock=near.clock,
            objects=near.objects,
            retention_days=storage.retention_days,
            confirmed=keeping.clock_confirmed,
            required=storage.lock == "required",
        )
    ledger = Ledger(store=near.store, clock=near.clock, site=near.plan)
    taking = Taking(
        ledger=ledger,
        clock=near.clock,
        objects=near.objects,
        files=SpooledRecordings(settings.data_dir / "recording"),
        reckoned=keeping.reckoned,
        locked_until=partial(_locked_until, locking),
        wake=near.wakes.taking,
    )
    gap_watch = GapWatch(
        ledger=ledger,
        clock=near.clock,
        cameras=near.cameras,
        site=near.plan,
        spool=SpoolRoom(
            near.clock,
            lambda: shutil.disk_usage(settings.data_dir).free,
            reserve_bytes=near.reserve_bytes,
        ),
        allowed=keeping.allowed,
        give_way=near.cameras.give_way,
    )
    exporting = Exporting(
        store=near.store,
        clock=near.clock,
        objects=near.objects,
        cameras=near.cameras,
        site=near.plan,
        signer=near.signer,
        joiner=SubprocessJoiner(),
        folder=settings.data_dir / "exports",
        software=f"campus-gateway {version('campus-gateway')}",
        reserve_bytes=near.reserve_bytes,
    )
    return RecordingStages(
        keeping=keeping,
        locking=locking,
        ledger=ledger,
        taking=taking,
        gap_watch=gap_watch,
        exporting=exporting,
    )


def alarm_stages(
    near: Neighbours, recording: RecordingStages, complain: Callable[[Sequence[Complaint]], None]
) -> AlarmStages:
    """Of an alarm from its evidence to the centre's answers; ``complain`` is called with what of them was not applied."""
    store, clock, envelopes, wakes = near.store, near.clock, near.envelopes, near.wakes
    gathering = Gathering(
        store=store,
        clock=clock,
        cameras=SharedCameras(near.cameras, clock),
        objects=near.objects,
        envelopes=envelopes,
        spool=Spool(near.settings.data_dir / "spool"),
        wake_delivering=Wake(wakes.delivering.set, wakes.pushing.set).set,
        no_room=lambda: store.ballast_spent,
        locked_until=recording.locked_until,
    )
    about_alarms = Wake(gathering.wake, wakes.confirming.set, wakes.showing.set)
    answering = Answering(
        store=store,
        clock=clock,
        envelopes=envelopes,
        wake_delivering=wakes.delivering.set,
        wake_gathering=about_alarms.set,
    )
    hearing = Hearing(
        store=store,
        clock=clock,
        read_item=read_item,
        say=answering.say,
        said=answering.said,
        complain=complain,
    )
    delivering = Delivering(
        store=store,
        clock=clock,
        paths=near.paths,
        chance=random.Random(),
        hear=hearing.hear,
        received=wakes.confirming.set,
        wake=wakes.delivering,
    )
    pushing = showing = None
    if near.media is not None:
        pushing = Pushing(
            store=store,
            clock=clock,
            uplink=near.media,
            objects=near.objects,
            envelopes=envelopes,
            chance=random.Random(),
            uploaded=Wake(wakes.delivering.set, gathering.wake).set,
            wake=wakes.pushing,
        )
        showing = Showing(
            store=store,
            clock=clock,
            cameras=near.cameras,
            uplink=near.media,
            envelopes=envelopes,
            heard=pushing.heard,
            give_way=pushing.give_way,
            wake=wakes.showing,
        )
    drilling = Drilling(
        store=store,
        clock=clock,
        envelopes=envelopes,
        cameras=near.cameras,
        can_sign=near.settings.site.centre.webhook.drill_secret is not None,
        wake_delivering=wakes.delivering.set,
        wake_gathering=about_alarms.set,
    )
    return AlarmStages(
        about_alarms=about_alarms,
        gathering=gathering,
        answering=answering,
        hearing=hearing,
        delivering=delivering,
        pushing=pushing,
        showing=showing,
        drilling=drilling,
    )


def contact_stages(near: Neighbours, alarm: AlarmStages) -> ContactStages:
    """Of the contacts. What watches over them asks the feed, which is made last since it needs everybody's topics."""
    points = near.points
    watching = Watching(
        store=near.store,
        clock=near.clock,
        points=points,
        decode=liveness.decode,
        armed=lambda: feed.armed,
        refused=lambda: feed.refused,
        undelivered=lambda: feed.undelivered,
    )
    starts = Starts(points, liveness.decode)
    doubting = Doubting(store=near.store, clock=near.clock, points=points, stamp=near.envelopes.stamp)
    intake = Intake(
        store=near.store,
        clock=near.clock,
        envelopes=near.envelopes,
        cameras=near.cameras,
        codecs=CODECS,
        points=points,
        offer=alarm.delivering.offer,
        wake_gathering=alarm.about_alarms.set,
        armed=alarm.drilling.armed,
        saw=watching.saw,
        starts=starts,
    )
    feed = MqttFeed(
        broker_address(near.settings, near.session.client_id if near.session else None),
        intake.topics,
        near.clock,
        beside=watching.topics | starts.announce_topics,
        memory=near.session,
    )
    confirming = Confirming(
        store=near.store, clock=near.clock, points=points, publisher=feed, wake=near.wakes.confirming
    )
    return ContactStages(
        watching=watching,
        starts=starts,
        doubting=doubting,
        intake=intake,
        feed=feed,
        confirming=confirming,
    )


def watch_stages(
    near: Neighbours,
    alarm: AlarmStages,
    contacts: ContactStages,
    found_elsewhere: Callable[[datetime], Iterable[Found]],
) -> WatchStages:
    """Of what watches over the others, and is therefore made last. ``found_elsewhere`` is what the stages find wrong."""
    settings, site = near.settings, near.settings.site
    registering = Registering(
        store=near.store,
        clock=near.clock,
        site=site.site.id,
        signer=near.signer,
        tell=partial(_tell_of_register, near.standing),
    )
    witnessing = Witnessing(
        store=near.store,
        clock=near.clock,
        witnesses=witnesses(settings),
        losses=near.store,
        objects=near.objects,
        prefix=f"{site.site.id}/",
    )
    supervising = Supervising(
        store=near.store,
        clock=near.clock,
        envelopes=near.envelopes,
        cameras=near.cameras,
        feed=contacts.feed,
        paths=alarm.path_health(),
        gone=alarm.delivering.gone,
        store_cause=lambda: alarm.gathering.store_cause,
        drill_causes=lambda: alarm.drilling.causes,
        wake_delivering=near.wakes.delivering.set,
        data_dir=settings.data_dir,
        reserve_bytes=near.reserve_bytes,
        database_full=lambda: near.store.ballast_spent,
        standing=near.standing,
        found_elsewhere=found_elsewhere,
    )
    certifying = Certifying(
        clock=near.clock,
        files=settings.certificate_files,
        keys={
            f"{name}.key": files.key
            for name, files in tls_sections(settings).items()
            if files.key is not None
        },
        read=_read_certificates,
        take_up=lambda: take_up(settings),
        peers={
            key: Peer(f"{address.host}:{address.port}", partial(_peer, near.clock, address, files))
            for key, (address, files) in tls_peers(settings).items()
        },
    )
    return WatchStages(
        registering=registering, witnessing=witnessing, supervising=supervising, certifying=certifying
    )


def heartbeats(
    near: Neighbours,
    recording: RecordingStages,
    alarm: AlarmStages,
    contacts: ContactStages,
    watch: WatchStages,
) -> list[tuple[str, Heartbeat]]:
    """One for each path to the centre, with its name."""

    def answered(number: int, answer: Answer) -> None:
        alarm.delivering.heartbeat_answered(number, answer)
        if answer.said_at is not None:
            recording.keeping.heard_time(answer.said_at, near.settings.site.centre.name)

    return [
        (
            path.name,
            Heartbeat(
                number=number,
                path=path,
                store=near.store,
                clock=near.clock,
                envelopes=near.envelopes,
                supervising=watch.supervising,
                undelivered=lambda: alarm.delivering.undelivered,
                answered=answered,
                heard_at=lambda: alarm.answering.last_heard_at,
                hearing=contacts.watching.hearing,
                signed=watch.registering.signed,
                take=alarm.hearing.take,
            ),
        )
        for number, path in enumerate(near.paths)
    ]


def found_by_stages(
    near: Neighbours,
    recording: RecordingStages,
    alarm: AlarmStages,
    contacts: ContactStages,
    certifying: Certifying,
    of_http: Iterable[Found],
    now: datetime,
) -> Iterator[Found]:
    """What the stages themselves find wrong, ``of_http`` with it."""
    of_broker = (*contacts.feed.found(), *(near.session.found() if near.session else ()))
    yield from (((FaultKind.BROKER, subject), cause) for subject, cause in of_broker)
    yield from near.store.found()
    for path in near.paths:
        if (apart := path.clocks_apart) is not None and apart.used:
            yield (FaultKind.CLOCK, f"path-{path.name}"), apart.words(path.name, near.envelopes.stamp)
    for name, cause in alarm.delivering.pages.items():
        yield (FaultKind.CENTRE, f"page-{name}"), cause
    yield from contacts.watching.found()
    yield from contacts.doubting.found()
    yield from contacts.intake.found()
    yield from contacts.confirming.found()
    yield from certifying.observed(now)
    yield from recording.keeping.causes.items()
    yield from recording.gap_watch.causes.items()
    yield from recording.taking.causes.items()
    yield from of_http
    yield from near.cameras.causes.items()
    for stage in (alarm.pushing, alarm.showing, recording.locking):
        if stage is not None:
            yield from stage.causes.items()


def _locked_until(locking: Locking | None, end: datetime) -> datetime | None:
    return None if locking is None else locking.until(end)


def _objects_room(settings: Settings) -> Room | None:
    """The disk that recordings and evidence lie on, if it is one of this box."""
    root = settings.objects_dir
    if root is None:
        return None
    usage = shutil.disk_usage(root if root.exists() else settings.data_dir)
    return Room(total=usage.total, free=usage.free)


def _tell_of_register(standing: Standing, cause: str) -> None:
    if cause:
        standing.causes[FaultKind.STORE, "register"] = cause
    else:
        standing.causes.pop((FaultKind.STORE, "register"), None)


def _peer(clock: SystemClock, address: Url, files: TlsFiles) -> Certificate | None:
    from drivers.tls.examining import (
        examine,  # brings the certificate library: not before the contacts are armed
    )

    try:
        found = examine(address.host, address.port, client_context(files), clock.now())
    except Refused:
        return None  # told as files that cannot be used
    # A handshake that fails is the path's or the broker's own fault.
    return None if found.problem else found.peer


def _read_certificates(path: Path) -> list[Certificate]:
    from drivers.tls.reading import read_certificates  # as in _peer

    return read_certificates(path)
