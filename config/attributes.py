"""What a Zigbee2MQTT topic ends with: the name of a device, or one value of it (its `output: attribute`).

A device's name may contain slashes, so the end of a topic does not tell which it is; what comes on it does: a document is a
device's, a bare value that value's. Pure text, no I/O.
"""

from __future__ import annotations

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
