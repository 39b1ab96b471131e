"""Quality of service: which contacts publish so that nobody sends a lost press again, and what that risks.

The QoS of a publish is only seen when a message comes, and a button that nobody presses sends none. So beside what was heard
stands what is known of each make: from its documentation or its firmware's source, never tried on a device of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.site import Point
from gateway.app.commands.probe.table import Line, Result

RISK = (
    "a press made while its connection or ours is broken can be lost, and nobody sends it again; mosquitto with the "
    "configuration shipped keeps it for a gateway that is away (queue_qos0_messages), so what remains is a contact cut off "
    "at the press, and the moment in which the broker or the gateway is killed"
)
#: Makes that publish at QoS 0 unless told otherwise, and what to do about it.
#: Tasmota: its MQTT library publishes at QoS 0 only (arendst/Tasmota#4693). Shelly Gen1: ``mqtt.max_qos`` is 0 as delivered
#: (GET /settings). Zigbee2MQTT: 0 unless the device has the option ``qos``. Gen2 is not here: its documentation says QoS 1.
AT_0: Mapping[str, str] = {
    "tasmota": "its firmware knows no other: where that is not good enough, take a contact that publishes at QoS 1",
    "shelly-gen1": "set mqtt.max_qos to 1 on the device (/settings?mqtt_max_qos=1)",
    "zigbee2mqtt": "set qos: 1 under device_options in zigbee2mqtt's configuration.yaml",
}
KNOWN_ONLY = "not heard now; this make publishes at QoS 0 unless it is set otherwise"


def service(point: Point, heard: Mapping[str, int]) -> Line | None:
    """A warning for a contact that was heard at QoS 0, or is of a make that does so and was not heard at all; ``heard`` is the
    lowest QoS by topic."""
    if point.mqtt is None:
        return None
    qos = heard.get(point.mqtt.topic)
    advice = AT_0.get(point.mqtt.format)
    if qos == 0:
        advice = advice or "let it publish at QoS 1"
        return _warning(point, "publishes at QoS 0", advice)
    if qos is None and advice is not None:
        return _warning(point, KNOWN_ONLY, advice)
    return None


def _warning(point: Point, what: str, advice: str) -> Line:
    assert point.mqtt is not None
    return Line(f"QoS 触点 {point.id}", Result.WARN, f"{point.mqtt.topic}: {what}: {RISK}; {advice}")
