"""What a Zigbee2MQTT topic ends with: the name of a device, or one value of it (its `output: attribute`).

A device's name may contain slashes, so the end of a topic does not tell which it is; what comes on it does: a document is a
device's, a bare value that value's. Pure text, no I/O.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping

from config.findings import Complaint
from config.site import Point

#: Values that are read when they come bare.
READ = frozenset({"action", "click", "sos", "emergency", "panic", "contact"})
#: What else a device of Zigbee2MQTT publishes, by which no press is told.
_NOT_READ = frozenset(
    {
        *(
            "availability",
            "set",
            "get",
            "state",
            "last_seen",
            "linkquality",
            "update",
            "update_available",
            "elapsed",
        ),
        *(
            "battery",
            "battery_low",
            "voltage",
            "power",
            "current",
            "energy",
            "power_on_behavior",
            "power_outage_count",
        ),
        *(
            "temperature",
            "humidity",
            "pressure",
            "illuminance",
            "device_temperature",
            "brightness",
            "position",
        ),
        *(
            "tamper",
            "test",
            "occupancy",
            "presence",
            "vibration",
            "water_leak",
            "smoke",
            "gas",
            "carbon_monoxide",
            "alarm",
        ),
        *(
            "action_code",
            "action_transaction",
            "action_zone",
            "action_group",
            "action_rate",
            "action_duration",
        ),
    }
)


#: As near as a slip of the finger: `actoin`, `Emergency`, `contct`.
_NEAR = 0.75
#: What a device's name may have beside such a word: `sos1`, `panic-2`.
_NUMBER = re.compile(r"[-_ ]?[0-9]+$")


def end_of(topic: str) -> str | None:
    """The last part of a topic, where it can be a value of a device: `BASE/NAME/VALUE`."""
    parts = topic.split("/")
    base = parts.index("zigbee2mqtt") + 1 if "zigbee2mqtt" in parts[:-1] else 1
    return parts[-1] if len(parts) > base + 1 else None


def read_bare(format_: str, topic: str) -> str | None:
    """The value that may come bare on a contact's topic, or `None`."""
    end = end_of(topic) if format_ == "zigbee2mqtt" else None
    return end if end in READ else None


def unread_topics(points: Mapping[int, Point]) -> Iterator[Complaint]:
    """Topics on which a value comes by which no press is told."""
    for index, point in points.items():
        if point.mqtt is None or point.mqtt.format != "zigbee2mqtt":
            continue
        end = end_of(point.mqtt.topic)
        if end in _NOT_READ:
            yield Complaint(
                path=("points", index, "mqtt", "topic"),
                found=f'"{point.mqtt.topic}"',
                expected="zigbee2mqtt/NAME, or an end of " + ", ".join(sorted(READ)),
                advice=f"{end} is a value of a device by which no press is told; if a device is called so, this is right",
                blocking=False,
            )
        elif end is not None and (near := _mistyped(end)) is not None:
            yield Complaint(
                path=("points", index, "mqtt", "topic"),
                found=f'"{point.mqtt.topic}"',
                expected=f"{near} at the end, if a value of a device is meant",
                advice=f"nothing comes there if {end} is a slip for {near}; if a device is called so, this is right",
                blocking=False,
            )


def _mistyped(end: str) -> str | None:
    """The value that was meant by an end that is none, if one is near."""
    if end in READ or _NUMBER.sub("", end) in READ:
        return None
    return next(iter(difflib.get_close_matches(end.strip().lower(), sorted(READ), n=1, cutoff=_NEAR)), None)


def blank_topics(points: Mapping[int, Point]) -> Iterator[Complaint]:
    """Topics with a part that is empty, or that begins or ends with a blank or with what nobody sees: another topic than the one
    meant, on which nothing comes. A `/` in front is a habit of some makes."""
    for index, point in points.items():
        topics = {} if point.mqtt is None else {"topic": point.mqtt.topic, "liveness": point.mqtt.liveness}
        for key, topic in topics.items():
            parts = (topic or "x").removeprefix("/").split("/")
            if any(not part or _is_blank(part[0]) or _is_blank(part[-1]) for part in parts):
                yield Complaint(
                    path=("points", index, "mqtt", key),
                    found=ascii(topic),
                    expected="a topic without blanks at the ends of its parts, and without empty parts",
                    advice="a blank is a letter of the topic to the broker: nothing comes there unless the device has it too",
                    blocking=False,
                )


def _is_blank(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) in ("Cf", "Zs")
