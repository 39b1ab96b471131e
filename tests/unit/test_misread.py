"""A message that the point's format does not read names the formats that would."""

from __future__ import annotations

import pytest

from drivers.contacts.formats import CODECS
from gateway.domain.misread import reads_as


@pytest.mark.parametrize(
    ("format_", "payload", "others"),
    [
        ("gateway", b'{"action":"single"}', "zigbee2mqtt"),
        ("gateway", b'{"contact":false}', "zigbee2mqtt"),
        ("gateway", b'{"sos":true}', "zigbee2mqtt"),
        ("zigbee2mqtt", b'{"event":"pressed"}', "gateway or shelly-gen1"),
        ("zigbee2mqtt", b'{"Button1":{"Action":"SINGLE"}}', "tasmota"),
        ("gateway", b'{"event":"S","event_cnt":7}', "shelly-gen1"),
        ("gateway", b'{"battery":50}', ""),
        ("gateway", b"nonsense", ""),
        ("gateway", b"[1,2", ""),
        ("gateway", b"\xff\xfe", ""),
    ],
)
def test_a_message_of_another_make_is_named(format_: str, payload: bytes, others: str) -> None:
    """Only where that make would read a push or a state; telemetry fits several."""
    hint = reads_as(payload, format_, CODECS)
    assert hint == (f"it reads as {others}: is points[].mqtt.format right? " if others else "")
