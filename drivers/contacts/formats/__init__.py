"""One pure codec per contact format: payload bytes in, signals out. No codec knows a socket or the past.

A codec raises :class:`~gateway.domain.errors.Malformed` for what it cannot read at all; what it can read
but means nothing to a contact (a firmware notice, say) is an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.contacts.formats import ours, shelly_gen1, shelly_gen2, tasmota, zigbee2mqtt
from gateway.domain.contact import Signal

Codec = Callable[[bytes], list[Signal]]

CODECS: Mapping[str, Codec] = {
    "gateway": ours.decode,
    "zigbee2mqtt": zigbee2mqtt.decode,
    "tasmota": tasmota.decode,
    "shelly-gen1": shelly_gen1.decode,
    "shelly-gen2": shelly_gen2.decode,
}
