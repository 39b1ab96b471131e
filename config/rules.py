"""What holds between the entries of a site file: references, sources, the law's words about cameras.

The rules work on what could be read, so that one run names every fault: an entry too faulty to be understood is
absent here, while its id still counts as known. One file, though long: a list of rules, each of which stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from config.attributes import blank_topics, unread_topics
from config.findings import Complaint, Path
from config.kinds import KEY_TARGET_DAYS_MIN
from config.liveness import liveness_topics
from config.presses import unsaid_words
from config.site import (
    Access,
    Camera,
    Centre,
    Evidence,
    Http,
    Mqtt,
    Point,
    School,
    SelfTest,
    Site,
    Storage,
    Zone,
)

# 公共安全视频图像信息系统管理条例, Art. 8: (二) inside student dormitory rooms; (三) baths, toilets, changing rooms; (四)
# any other privacy area.
PRIVATE_KINDS = {"dormitory-room": "item 2", "toilet": "item 3", "changing": "item 3"}
ALWAYS_RECORDED_KINDS = ("gate", "passage")
#: ``Switch2``, ``button_2``, ``input:2``, ``2``: what it is, where that is said, and its number.
_NUMBERED_INPUT = re.compile(r"(?:(button|switch|input|bthomedevice|bthomesensor)[ _:]?)?0*([0-9]+)")
#: Where the firmware of a make publishes presses, whatever its prefix is set to; and how to say so.
_PRESSES_OF_MAKE = {
    "shelly-gen1": (
        re.compile(r".*/(?:input_event/\d+|input/\d+|sensor/state|info)"),
        "…/input_event/0 for a button, …/input/0 for a switch, …/sensor/state for a door contact",
    ),
    "shelly-gen2": (
        re.compile(r".*/(?:events/(?:rpc|.+)|status/.+)"),
        "…/events/rpc, or …/status/input:0 for a switch",
    ),
    "tasmota": (re.compile(r"(?!.*/(?:LWT|STATE)$).*"), "stat/…/RESULT, or tele/…/SENSOR for a switch"),
}


@dataclass(kw_only=True)
class Parts:
    """The sections and entries that could be read, each entry with its position in the file."""

    site: School | None = None
    zones: dict[int, Zone] = field(default_factory=dict)
    cameras: dict[int, Camera] = field(default_factory=dict)
    points: dict[int, Point] = field(default_factory=dict)
    centre: Centre | None = None
    mqtt: Mqtt | None = None
    storage: Storage | None = None
    evidence: Evidence | None = None
    self_test: SelfTest | None = None
    http: Http | None = None
    access: dict[int, Access] = field(default_factory=dict)
    known_ids: dict[str, set[str]] = field(default_factory=dict)
    """Per list, the ids that stand in the file, faulty entries included."""

    @classmethod
    def of(cls, site: Site) -> Parts:
        """The parts of a whole site."""
        return cls(
            site=site.site,
            zones=dict(enumerate(site.zones)),
            cameras=dict(enumerate(site.cameras)),
            points=dict(enumerate(site.points)),
            centre=site.centre,
            mqtt=site.mqtt,
            storage=site.storage,
            evidence=site.evidence,
            self_test=site.self_test,
            http=site.http,
            access=dict(enumerate(site.access)),
            known_ids={
                "zones": {zone.id for zone in site.zones},
                "cameras": {camera.id for camera in site.cameras},
                "points": {point.id for point in site.points},
            },
        )


def entry_rules(parts: Parts) -> Iterator[Complaint]:
    """Every breach of a rule between entries; warnings are not blocking."""
    yield from _duplicates(parts)
    yield from _references(parts)
    yield from _cameras_by_zone(parts)
    yield from _mqtt_sources(parts)
    yield from _liveness(parts)
    yield from _confirmations(parts)
    yield from _silent_topics(parts)
    yield from unread_topics(parts.points)
    yield from blank_topics(parts.points)
    yield from unsaid_words(parts.points)
    yield from _onvif_sources(parts)
    yield from _unseen_points(parts)
    yield from _same_addresses(parts)
    yield from _second_streams(parts)
    yield from _self_test(parts)
    yield from _key_target(parts)


def _duplicates(parts: Parts) -> Iterator[Complaint]:
    lists: list[tuple[str, dict[int, str]]] = [
        ("zones", {index: zone.id for index, zone in parts.zones.items()}),
        ("cameras", {index: camera.id for index, camera in parts.cameras.items()}),
        ("points", {index: point.id for index, point in parts.points.items()}),
    ]
    for name, ids in lists:
        first: dict[str, int] = {}
        for index, entry_id in ids.items():
            if entry_id in first:
                yield _wrong(
                    (name, index, "id"),
                    f'"{entry_id}" again',
                    f"an id of its own for each of the {name}",
                    f"{name}[{first[entry_id]}] has it already",
                )
            first.setdefault(entry_id, index)
    for index, point in parts.points.items():
        for position, camera in enumerate(point.cameras):
            if camera in point.cameras[:position]:
                yield _wrong(
                    ("points", index, "cameras", position),
                    f'"{camera}" again',
                    "each camera once",
                    "remove it",
                )


def _references(parts: Parts) -> Iterator[Complaint]:
    zones, cameras = parts.known_ids.get("zones", set()), parts.known_ids.get("cameras", set())
    for index, camera in parts.cameras.items():
        if camera.zone not in zones:
            yield _dangling(("cameras", index, "zone"), camera.zone, "zones")
    for index, point in parts.points.items():
        if point.zone not in zones:
            yield _dangling(("points", index, "zone"), point.zone, "zones")
        for position, camera_id in enumerate(point.cameras):
            if camera_id not in cameras:
                yield _dangling(("points", index, "cameras", position), camera_id, "cameras")
        if point.onvif_input and point.onvif_input.camera not in cameras:
            yield _dangling(("points", index, "onvif_input", "camera"), point.onvif_input.camera, "cameras")


def _cameras_by_zone(parts: Parts) -> Iterator[Complaint]:
    kinds = {zone.id: zone.kind for zone in parts.zones.values()}
    for index, camera in parts.cameras.items():
        kind = kinds.get(camera.zone, "other")
        if kind in PRIVATE_KINDS:
            yield _wrong(
                ("cameras", index, "zone"),
                f'"{camera.zone}", a zone of kind {kind}',
                "a zone where a camera may stand",
                "公共安全视频图像信息系统管理条例 (State Council Order 799) Art. 8 items 2–4 forbids cameras "
                "inside student dormitory rooms, baths, toilets, changing rooms and other private places "
                f"(here {PRIVATE_KINDS[kind]}): take the camera down, or correct its zone",
            )
        if kind in ALWAYS_RECORDED_KINDS and camera.record != "continuous":
            yield _wrong(
                ("cameras", index, "record"),
                f"{camera.record} in {camera.zone}, a zone of kind {kind}",
                "continuous",
                "the founding notice, II (3) 3, and 公共安全视频图像信息系统管理条例 (State Council Order 799) "
                "Art. 17: what cameras at gates and main passages see is kept for 30 days or more",
            )


def _mqtt_sources(parts: Parts) -> Iterator[Complaint]:
    by_topic: dict[str, list[tuple[int, Point]]] = {}
    for index, point in parts.points.items():
        if point.mqtt is None:
            continue
        path: Path = ("points", index, "mqtt", "topic")
        for first, other in by_topic.get(point.mqtt.topic, []):
            assert other.mqtt is not None
            mine, theirs = point.mqtt.input, other.mqtt.input
            if mine is None or theirs is None or _same_input(mine, theirs):
                yield _wrong(
                    path,
                    f"the topic of points[{first}] ({other.id}) again",
                    "one source for one point",
                    "points on one topic need a different input each",
                )
                break
            if point.mqtt.format != other.mqtt.format:
                yield _wrong(
                    ("points", index, "mqtt", "format"),
                    point.mqtt.format,
                    f"{other.mqtt.format}, as points[{first}] ({other.id}) says of the same topic",
                    "one device writes one format",
                )
                break
        by_topic.setdefault(point.mqtt.topic, []).append((index, point))


def _press_topics(parts: Parts) -> dict[str, str]:
    """Topic → id of a point whose presses come on it."""
    return {point.mqtt.topic: point.id for point in parts.points.values() if point.mqtt is not None}


def _liveness(parts: Parts) -> Iterator[Complaint]:
    presses = _press_topics(parts)
    for index, point in parts.points.items():
        given = point.mqtt.liveness if point.mqtt is not None else None
        if given in presses:
            yield _wrong(
                ("points", index, "mqtt", "liveness"),
                f"the topic of the presses of {presses[given]}",
                "a topic that tells online or offline and nothing else",
                "what is kept on it is used, and a kept press must never be",
            )


def _confirmations(parts: Parts) -> Iterator[Complaint]:
    taken = {
        topic: f"the liveness topic of {point.id}"
        for point in parts.points.values()
        if point.mqtt is not None
        for topic in liveness_topics(point.mqtt.format, point.mqtt.topic, point.mqtt.liveness).all
    }
    taken |= {topic: f"the topic of the presses of {id_}" for topic, id_ in _press_topics(parts).items()}
    for index, point in parts.points.items():
        if point.confirm is None:
            continue
        path: Path = ("points", index, "confirm")
        if point.severity == "duress":
            yield _wrong(
                path,
                "a confirmation of a duress point",
                "none",
                "duress makes no sound, light or confirmation anywhere in the school: whoever forces a person to open a "
                "door must not see that help was called; remove confirm, or correct severity",
            )
        topic = point.confirm.topic
        if topic in taken:
            yield _wrong(
                (*path, "topic"),
                f"{topic}, {taken[topic]}",
                "a topic that nothing is read from",
                "the gateway would hear its own confirmation as a contact; give the lamp a topic of its own",
            )
        if topic.startswith("$"):
            yield _wrong(
                (*path, "topic"),
                topic,
                "a topic that does not begin with $",
                "those are the broker's own: MQTT 3.1.1, 4.7.2",
            )


def _same_input(mine: str, theirs: str) -> bool:
    """Whether a press of one may be a press of the other: the gateway hears an input by its number alone, too."""
    mine, theirs = mine.strip().lower(), theirs.strip().lower()
    one, other = _NUMBERED_INPUT.fullmatch(mine), _NUMBERED_INPUT.fullmatch(theirs)
    if mine == theirs or one is None or other is None:
        return mine == theirs
    return one[2] == other[2] and (one[1] == other[1] or None in (one[1], other[1]))


def _silent_topics(parts: Parts) -> Iterator[Complaint]:
    for index, point in parts.points.items():
        if point.mqtt is None or point.mqtt.format not in _PRESSES_OF_MAKE:
            continue
        speaks, expected = _PRESSES_OF_MAKE[point.mqtt.format]
        if not speaks.fullmatch(point.mqtt.topic):
            yield _warning(
                ("points", index, "mqtt", "topic"),
                f'"{point.mqtt.topic}"',
                expected,
                f"{point.mqtt.format} hardware publishes no press there that can be told from the last one",
            )


def _onvif_sources(parts: Parts) -> Iterator[Complaint]:
    cameras = {camera.id: camera for camera in parts.cameras.values()}
    first: dict[tuple[str, str], int] = {}
    for index, point in parts.points.items():
        if point.onvif_input is None:
            continue
        source = (point.onvif_input.camera, point.onvif_input.token)
        path: Path = ("points", index, "onvif_input")
        if source in first:
            yield _wrong(
                (*path, "token"),
                f"the input of points[{first[source]}] again",
                "one source for one point",
                "give each point the token of its own input",
            )
        first.setdefault(source, index)
        camera = cameras.get(source[0])
        if camera is not None and camera.onvif is None:
            yield _wrong(
                (*path, "camera"),
                f'"{camera.id}", which has a stream only',
                "a camera with the key onvif",
                "alarm inputs are read by ONVIF",
            )


def _unseen_points(parts: Parts) -> Iterator[Complaint]:
    watched = {camera.zone for camera in parts.cameras.values()}
    for index, point in parts.points.items():
        if not point.cameras and point.zone not in watched:
            yield _warning(
                ("points", index, "cameras"),
                "no camera in its list or its zone",
                "at least one",
                "its alarm goes out without stills, clips and live picture (cameras: [])",
            )
    if not parts.points:
        yield _warning(("points",), "no point", "at least one alarm contact", "no alarm can ever be raised")


def _same_addresses(parts: Parts) -> Iterator[Complaint]:
    first: dict[tuple[str, int, str], int] = {}
    for index, camera in parts.cameras.items():
        if camera.onvif is not None:
            address = (camera.onvif.host.lower(), camera.onvif.port, "")
            path: Path = ("cameras", index, "onvif", "host")
        elif camera.stream is not None:
            url = camera.stream.address
            address = (url.host, url.port, f"{url.path}?{url.query}")
            path = ("cameras", index, "stream", "url")
        else:
            continue
        if address in first:
            yield _warning(
                path,
                f"the address of cameras[{first[address]}] again",
                "an address of its own",
                "is it one camera, twice?",
            )
        first.setdefault(address, index)


def _second_streams(parts: Parts) -> Iterator[Complaint]:
    """Where the file itself asks for the step: what ONVIF offers nobody knows yet, but a bare stream names its second one."""
    storage = parts.storage
    if storage is None or "when_full" not in storage.model_fields_set or "substream" not in storage.when_full:
        return
    for index, camera in parts.cameras.items():
        if camera.record == "continuous" and camera.stream is not None and camera.stream.sub_url is None:
            yield _warning(
                ("cameras", index, "stream"),
                "no sub_url",
                "its smaller stream, for substream in storage.when_full",
                "while room is short that step passes over this camera",
            )


def _self_test(parts: Parts) -> Iterator[Complaint]:
    if parts.self_test is None:
        return
    if parts.self_test.point not in parts.known_ids.get("points", set()):
        yield _dangling(("self_test", "point"), parts.self_test.point, "points")
    if parts.centre is not None and parts.centre.webhook.drill_secret is None:
        yield _wrong(
            ("self_test",),
            "a self-test and no centre.webhook.drill_secret",
            "a drill secret",
            "the self-test is a drill, signed with a secret of its own: agree one with the centre",
        )


def _key_target(parts: Parts) -> Iterator[Complaint]:
    storage = parts.storage
    if parts.site is None or storage is None or not parts.site.key_target:
        return
    if "retention_days" in storage.model_fields_set and storage.retention_days < KEY_TARGET_DAYS_MIN:
        yield _wrong(
            ("storage", "retention_days"),
            f"{storage.retention_days} with site.key_target: true",
            f"{KEY_TARGET_DAYS_MIN} or more",
            "反恐怖主义法 (Counter-Terrorism Law) Art. 32: at designated key targets video is kept for no less than 90 days; "
            "take the key out, and 90 days are kept",
        )


def _dangling(path: Path, reference: str, where: str) -> Complaint:
    return _wrong(
        path, f'"{reference}"', f"the id of one of the {where}", f"add it to {where}, or correct it"
    )


def _wrong(path: Path, found: str, expected: str, advice: str) -> Complaint:
    return Complaint(path=path, found=found, expected=expected, advice=advice)


def _warning(path: Path, found: str, expected: str, advice: str) -> Complaint:
    return Complaint(path=path, found=found, expected=expected, advice=advice, blocking=False)
