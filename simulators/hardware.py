"""What contact hardware of each make publishes: push by push, in its own order, on its own topics.

Written from the makers' documentation and sharing no line with any receiver. An object of here is one device with one
input; it has its state and its counter, and says what goes out next. `SimulatedButton` sends it.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("gateway", "zigbee2mqtt", "tasmota", "shelly-gen1", "shelly-gen2")
GESTURES = ("single", "double", "triple", "long")
#: The quality of service each publishes with as it comes out of its box.
USUAL_QOS = {"gateway": 1, "zigbee2mqtt": 0, "tasmota": 0, "shelly-gen1": 0, "shelly-gen2": 1}
_BETWEEN_PUSHES_S = 0.15
_DECIDES_AFTER_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One message of a device: where, what, how, and how long after the one before."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    after_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Hardware:
    """A device with one input, by default a button.

    `topic` is where the system under test hears its presses; the other topics of the device follow from it. `switch`: a
    contact with a state instead of a push; `normally_closed`: which state is its rest. `counter` is what it has counted.
    Raises ValueError for a topic from which the others cannot be told.
    """

    topic: str
    qos: int = 1
    number: int = 0
    switch: bool = False
    normally_closed: bool = False
    counter: int = 0
    battery: int = 100
    _closed: bool = field(init=False)

    def __post_init__(self) -> None:
        self._closed = self.normally_closed

    def push(self, gesture: str = "single", *, held_s: float = 0.2) -> list[Publication]:
        """A push of a button, or of a switch: to the other state and back after `held_s`."""
        if self.switch:
            return [*self.turn(pressed=True), *_later(self.turn(pressed=False), held_s)]
        return self._pushed(gesture, held_s)

    def turn(self, *, pressed: bool) -> list[Publication]:
        """A switch goes to the state it has when pressed, or back to its rest."""
        self._closed = pressed is not self.normally_closed
        return self._changed()

    def telemetry(self) -> list[Publication]:
        """What it says from time to time though nothing happened."""
        raise NotImplementedError

    def hello(self) -> list[Publication]:
        """What it publishes once it is connected, kept by the broker."""
        will = self.will()
        return (
            [] if will is None else [Publication(topic=will[0], payload=will[2], qos=self.qos, retain=True)]
        )

    def will(self) -> tuple[str, bytes, bytes] | None:
        """Topic of its liveness, what the broker says there when it is gone, and what it says itself."""
        return None

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        raise NotImplementedError

    def _changed(self) -> list[Publication]:
        raise NotImplementedError

    def _says(self, topic: str, said: object, after_s: float = 0.0) -> Publication:
        payload = said if isinstance(said, str) else json.dumps(said)
        return Publication(topic=topic, payload=payload.encode(), qos=self.qos, after_s=after_s)


@dataclass(slots=True, kw_only=True)
class Programmable(Hardware):
    """Hardware that was programmed for the gateway's own format: an id for each push."""

    def telemetry(self) -> list[Publication]:
        return [self._says(self.topic, {"event": "alive", "battery": self.battery})]

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        pressed = {"event": "pressed", "id": str(uuid.uuid4()), "battery": self.battery}
        return [self._says(self.topic, pressed), self._says(self.topic, {"event": "released"}, held_s)]

    def _changed(self) -> list[Publication]:
        pressed = self._closed is not self.normally_closed
        said = {"event": "pressed", "id": str(uuid.uuid4())} if pressed else {"event": "released"}
        return [self._says(self.topic, said)]


@dataclass(slots=True, kw_only=True)
class Zigbee(Hardware):
    """A Zigbee device behind Zigbee2MQTT: `action` of a button, `contact` of a sensor (false is open)."""

    def telemetry(self) -> list[Publication]:
        return [
            self._says(self.topic, {**({"contact": self._closed} if self.switch else {}), **self._values()})
        ]

    def will(self) -> tuple[str, bytes, bytes]:
        return f"{self.topic}/availability", b'{"state":"offline"}', b'{"state":"online"}'

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        words = [("hold", 0.0), ("release", held_s)] if gesture == "long" else [(gesture, 0.0)]
        return [
            self._says(self.topic, {"action": word, **self._values()}, after_s) for word, after_s in words
        ]

    def _changed(self) -> list[Publication]:
        return self.telemetry()

    def _values(self) -> dict[str, int]:
        return {"battery": self.battery, "voltage": 3000, "linkquality": 120}


@dataclass(slots=True, kw_only=True)
class Tasmota(Hardware):
    """`stat/T/RESULT`: a button with SetOption73, a switch with SetOption114 and SwitchMode 1. `tele/T/SENSOR`: a switch with
    SwitchMode 15, whose state is also telemetry."""

    number: int = 1

    def __post_init__(self) -> None:
        Hardware.__post_init__(self)
        if not self.switch and self.topic.endswith("/SENSOR"):
            raise ValueError("SENSOR tells the state of switches: --kind switch, or the topic stat/…/RESULT")

    def telemetry(self) -> list[Publication]:
        """Every TelePeriod: of itself, and the state of its switch."""
        said = [
            self._says(
                self._beside("tele", "STATE"), {"Time": _local(), "Uptime": "0T00:05:00", "POWER": "OFF"}
            )
        ]
        return [*said, self._sensor()] if self.switch else said

    def will(self) -> tuple[str, bytes, bytes]:
        return self._beside("tele", "LWT"), b"Offline", b"Online"

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        words = [("HOLD", 0.0), ("CLEAR", held_s)] if gesture == "long" else [(gesture.upper(), 0.0)]
        return [
            self._says(self.topic, {f"Button{self.number}": {"Action": w}}, after_s) for w, after_s in words
        ]

    def _changed(self) -> list[Publication]:
        if self.topic.endswith("/SENSOR"):
            return [self._sensor()]
        return [self._says(self.topic, {f"Switch{self.number}": {"Action": self._state()}})]

    def _sensor(self) -> Publication:
        topic = self.topic if self.topic.endswith("/SENSOR") else self._beside("tele", "SENSOR")
        return self._says(topic, {"Time": _local(), f"Switch{self.number}": self._state()})

    def _state(self) -> str:
        return "ON" if self._closed else "OFF"

    def _beside(self, prefix: str, last: str) -> str:
        parts = self.topic.split("/")
        return "/".join([prefix, *parts[1:-1], last]) if len(parts) > 2 else f"{self.topic}/{last}"


@dataclass(slots=True, kw_only=True)
class ShellyGen1(Hardware):
    """`shellies/<id>/input_event/0` of a button, `shellies/<id>/input/0` of a switch."""

    _last: str = field(init=False, default="")
    _base: str = field(init=False)

    def __post_init__(self) -> None:
        Hardware.__post_init__(self)
        parts = self.topic.rsplit("/", 2)
        if len(parts) != 3 or parts[1] not in ("input", "input_event") or not parts[2].isdigit():
            raise ValueError(f"topic {self.topic!r}: expected shellies/<id>/input_event/0 or …/input/0")
        self._base, self.number = parts[0], int(parts[2])

    def telemetry(self) -> list[Publication]:
        """Every 30 s: its input as it is, and its last push again under the same number."""
        return [self._input(self._closed), *([] if self.switch else [self._event()])]

    def will(self) -> tuple[str, bytes, bytes]:
        return f"{self._base}/online", b"false", b"true"

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        pushes = {"single": "S", "double": "SS", "triple": "SSS", "long": "L"}[gesture]
        said: list[Publication] = []
        for n in range(len(pushes)):
            said.append(self._input(True, _BETWEEN_PUSHES_S if n else 0.0))
            said.append(self._input(False, held_s))
        self.counter = (self.counter + 1) % 65_536
        self._last = pushes
        how_long = self._says(f"{self._base}/longpush/{self.number}", str(int(pushes == "L")))
        return [*said, how_long, self._event(_DECIDES_AFTER_S)]

    def _changed(self) -> list[Publication]:
        return [self._input(self._closed)]

    def _input(self, closed: bool, after_s: float = 0.0) -> Publication:
        return self._says(f"{self._base}/input/{self.number}", str(int(closed)), after_s)

    def _event(self, after_s: float = 0.0) -> Publication:
        said = {"event": self._last, "event_cnt": self.counter}
        return self._says(f"{self._base}/input_event/{self.number}", said, after_s)


@dataclass(slots=True, kw_only=True)
class ShellyGen2(Hardware):
    """`<id>/events/rpc`, and beside it `<id>/status/input:0`."""

    _base: str = field(init=False)

    def __post_init__(self) -> None:
        Hardware.__post_init__(self)
        for ending in ("/events/rpc", f"/status/input:{self.number}"):
            if self.topic.endswith(ending):
                self._base = self.topic.removesuffix(ending)
                return
        raise ValueError(f"topic {self.topic!r}: expected <id>/events/rpc or <id>/status/input:{self.number}")

    def telemetry(self) -> list[Publication]:
        """All of it, as after a connection."""
        status = {
            f"input:{self.number}": self._status(),
            "devicepower:0": {"battery": {"percent": self.battery}},
        }
        return [self._notifies("NotifyFullStatus", status), self._says(self._status_topic(), self._status())]

    def will(self) -> tuple[str, bytes, bytes]:
        return f"{self._base}/online", b"false", b"true"

    def _pushed(self, gesture: str, held_s: float) -> list[Publication]:
        if gesture == "long":
            steps = [("btn_down", 0.0), ("long_push", held_s), ("btn_up", held_s)]
        else:
            times = 1 + GESTURES.index(gesture)
            steps = []
            for n in range(times):
                steps += [("btn_down", _BETWEEN_PUSHES_S if n else 0.0), ("btn_up", held_s)]
            steps.append((f"{gesture}_push", _DECIDES_AFTER_S))
        said: list[Publication] = []
        at_s = time.time()
        for word, after_s in steps:
            at_s += after_s
            event = {
                "component": f"input:{self.number}",
                "id": self.number,
                "event": word,
                "ts": round(at_s, 2),
            }
            said.append(self._notifies("NotifyEvent", {"events": [event]}, after_s, at_s))
        return said

    def _changed(self) -> list[Publication]:
        told = self._notifies("NotifyStatus", {f"input:{self.number}": self._status()})
        return [told, self._says(self._status_topic(), self._status())]

    def _status(self) -> dict[str, Any]:
        return {"id": self.number, "state": self._closed if self.switch else None}

    def _status_topic(self) -> str:
        return f"{self._base}/status/input:{self.number}"

    def _notifies(
        self, method: str, params: dict[str, Any], after_s: float = 0.0, at_s: float | None = None
    ) -> Publication:
        source = self._base.rpartition("/")[2] or "shelly"
        said = {"src": source, "dst": f"{source}/events", "method": method}
        params = {"ts": round(time.time() if at_s is None else at_s, 2), **params}
        return self._says(f"{self._base}/events/rpc", {**said, "params": params}, after_s)


_MAKES: dict[str, type[Hardware]] = {
    "gateway": Programmable,
    "zigbee2mqtt": Zigbee,
    "tasmota": Tasmota,
    "shelly-gen1": ShellyGen1,
    "shelly-gen2": ShellyGen2,
}


def hardware(format_: str, topic: str, **settings: Any) -> Hardware:
    """A device of that format; `settings` are the fields of `Hardware`. ValueError where they do not fit together."""
    return _MAKES[format_](topic=topic, **{"qos": USUAL_QOS[format_], **settings})


def _later(said: list[Publication], after_s: float) -> list[Publication]:
    first, *rest = said
    moved = Publication(
        topic=first.topic, payload=first.payload, qos=first.qos, retain=first.retain, after_s=after_s
    )
    return [moved, *rest]


def _local() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")
