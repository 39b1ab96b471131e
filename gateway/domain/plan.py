"""The site as the gateway works with it: zones, points, cameras and which camera belongs to which point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from enum import StrEnum

from gateway.domain.flag import FlagIs


class Severity(StrEnum):
    """What a point means when it closes. ``DURESS`` makes no sound, light or confirmation in the school."""

    PANIC = "panic"
    DURESS = "duress"
    FIRE = "fire"
    MEDICAL = "medical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A place of the school; ``kind`` is one of the site file's zone kinds."""

    id: str
    name: str
    kind: str
    building: str | None = None
    floor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera as the domain sees it: where it looks, never how it is reached (that is the driver's)."""

    id: str
    name: str
    zone: str
    continuous: bool = False
    offers_snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSource:
    """Where a point's presses are published. ``key`` names the source in what is remembered of it.

    ``liveness_topic`` is where the contact, and ``bridge_topic`` where the program that speaks for it, is told to be there
    or gone. ``silent_after_s`` is how long it may say nothing at all. ``presses``: the words that are presses, where the site
    file names them; ``flag``: what its flags are, where it says so. ``attribute``: the end of the topic, where its make may
    publish one value bare. ``device`` is its device's name on the ``announce_topics``.
    """

    topic: str
    format: str
    input: str | None = None
    normally_open: bool = True
    liveness_topic: str | None = None
    bridge_topic: str | None = None
    silent_after_s: int | None = None
    presses: tuple[str, ...] = ()
    flag: FlagIs | None = None
    attribute: str | None = None
    device: str = ""
    announce_topics: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.topic if self.input is None else f"{self.topic}#{self.input}"

    @property
    def read_as(self) -> str:
        """What has to be the same for a message of before to show that this source is heard: ``FORMAT TOPIC#INPUT``."""
        return f"{self.format} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Where and in which words a person who pressed is told what became of it. With no word at all ours are published."""

    topic: str
    received: str | None = None
    accepted: str | None = None
    closed: str | None = None
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """报警触点: one alarm contact. ``cameras`` are all that are mapped to it, its own zone's first."""

    id: str
    name: str
    zone: Zone
    cameras: tuple[str, ...]
    severity: Severity = Severity.PANIC
    source: ContactSource | None = None
    confirm: Confirm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """The scheduled exercise: at which point, daily ``at`` (the school's time), and how soon the centre has to answer."""

    point: str
    at: time
    answered_within_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The plan of one school."""

    id: str
    name: str
    address: str
    lat: float
    lon: float
    timezone: str
    zones: Mapping[str, Zone]
    cameras: Mapping[str, Camera]
    points: Mapping[str, Point]
    retention_days: int
    before_s: int
    after_s: int
    accept_within_s: int
    self_test: SelfTest | None = None
