"""Messages that look like presses and are none, made by a seed: the same seed makes the same messages.

Everything here is no press by API.md, "Presses", whatever came before it: the contacts are told once how they stand (the
baseline), and what follows either repeats that, or is the broker's memory, or is not what the make publishes. Left out on
purpose is what can be read in two ways, since that is read as a press: an action in a language nobody knows, or a document in
UTF-16.

One file, though long: what is no press is to be read as a whole.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

#: Beyond what any codec reads (64 KiB).
HUGE_BYTES = 66_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """One message that must raise nothing. ``kind`` says which way it is near."""

    kind: str
    topic: str
    payload: bytes
    retained: bool = False
    redelivered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """One contact as it is wired: how it stands, what it repeats, what it says that means nothing, and its press.

    ``rest`` is told at first and repeated by telemetry (the number makes it another payload, as a time does); ``presses`` are
    true ones, to be cut, kept by the broker and wrapped up, and the first of them is pressed in the end. ``strange`` are the
    same in another language, ``nulls`` with the sense taken out, ``idle`` signs of life.
    """

    name: str
    format: str
    rest: Callable[[int], Any] | None
    presses: Sequence[Any]
    idle: Sequence[Any]
    nulls: Sequence[Any]
    strange: Sequence[Any]
    input: str | None = None
    normally_open: bool = True

    @property
    def topic(self) -> str:
        return f"near/{self.name}"


def _time(n: int) -> str:
    return f"2026-03-02T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}"


def _gen2(method: str, **params: Any) -> dict[str, Any]:
    return {"src": "shellyplusi4-a8032ab0c018", "method": method, "params": params}


def _event(word: str | None, component: str | None = "input:2", ts: float = 1772417707.02) -> dict[str, Any]:
    return _gen2("NotifyEvent", ts=ts, events=[{"component": component, "id": 2, "event": word, "ts": ts}])


_RELAY = [
    {"POWER": "ON"},
    {"POWER1": "TOGGLE"},
    {"SetOption114": "ON"},
    {"SwitchMode1": 15},
    "Online",
    "Offline",
]
_STATE = {
    "Time": "2026-03-02T10:15:07",
    "Uptime": "0T01:00:11",
    "POWER": "ON",
    "Fade": "ON",
    "LedTable": "ON",
}
_STATES = [_STATE, {**_STATE, "POWER": "OFF", "Fade": "OFF", "LedTable": "OFF"}]


MAKES = (
    Make(
        name="own",
        format="gateway",
        rest=None,
        presses=[{"event": "pressed", "id": "7"}, {"event": "pressed"}],
        idle=[
            {"event": w, "battery": b} for w in ("released", "tamper", "test", "alive") for b in (97, -1, "x")
        ],
        nulls=[
            {"event": None},
            {"event": ""},
            {"id": "7"},
            {"event": ["pressed"]},
            {"event": {"pressed": True}},
        ],
        strange=[
            {"event": "按下"},
            {"事件": "pressed"},
            {"event": "gedrückt"},
            {"event": "PRESSED"},
            {"Event": "pressed"},
        ],
    ),
    Make(
        name="zigbee-sos",
        format="zigbee2mqtt",
        rest=None,
        presses=[
            {"action": "emergency", "battery": 100},
            {"sos": True},
            {"action": "single"},
            {"action": "press"},
        ],
        idle=[
            {"battery": 97, "linkquality": 80},
            {"sos": False, "tamper": True},
            {"update": {"state": "idle"}},
        ],
        nulls=[
            {"action": None},
            {"action": ""},
            {"sos": None, "panic": 1, "emergency": "true"},
            {"action": 7},
        ],
        strange=[
            {"动作": "单击"},
            {"acción": "simple"},
            {"SOS": True},
            {"Action": "single"},
            {"aktion": "press"},
        ],
    ),
    Make(
        name="zigbee-door",
        format="zigbee2mqtt",
        rest=lambda n: {"contact": False, "linkquality": n % 255},
        presses=[{"contact": True, "battery": 90}],
        idle=[{"battery": 97}, {"contact": False, "tamper": True}],
        nulls=[{"contact": None}, {"contact": "true"}, {"contact": 1}, {"contact": [True]}],
        strange=[{"kontakt": True}, {"触点": True}, {"Contact": True}],
    ),
    Make(
        name="zigbee-door-closed",
        format="zigbee2mqtt",
        normally_open=False,
        rest=lambda n: {"contact": True, "linkquality": n % 255},
        presses=[{"contact": False}],
        idle=[{"battery": 97}],
        nulls=[{"contact": None}, {"contact": "false"}, {"contact": 0}],
        strange=[{"kontakt": False}, {"触点": False}],
    ),
    Make(
        name="tasmota-button",
        format="tasmota",
        input="Button1",
        rest=None,
        presses=[
            {"Button1": {"Action": "SINGLE"}},
            {"Button1": {"Action": "HOLD"}},
            {"Button1": {"Action": "CLEAR"}},
        ],
        idle=[*_RELAY, *_STATES, {"Button2": {"Action": "SINGLE"}}, {"Button11": {"Action": "HOLD"}}],
        nulls=[
            {"Button1": None},
            {"Button1": {"Action": None}},
            {"Button1": {"Action": ""}},
            {"Button1": "SINGLE"},
        ],
        strange=[
            {"Taster1": {"Aktion": "EINZEL"}},
            {"按钮1": {"动作": "单击"}},
            {"button1": {"action": "SINGLE"}},
        ],
    ),
    Make(
        name="tasmota-switch",
        format="tasmota",
        rest=lambda n: {"Time": _time(n), "Switch1": "OFF", "Switch2": "ON", "ENERGY": {"Power": n % 90}},
        presses=[{"Time": "2026-03-02T10:15:07", "Switch1": "ON", "Switch2": "ON"}],
        idle=[*_RELAY, *_STATES],
        nulls=[{"Time": None, "Switch1": None}, {"Time": "t", "Switch1": True}, {"StatusSNS": None}],
        strange=[
            {"Time": "t", "Switch1": "EIN"},
            {"时间": "t", "Switch1": "ON"},
            {"Time": "t", "Schalter1": "AN"},
        ],
    ),
    Make(
        name="tasmota-switch-closed",
        format="tasmota",
        input="1",
        normally_open=False,
        rest=lambda n: {"StatusSNS": {"Time": _time(n), "Switch1": "ON", "Switch2": ("ON", "OFF")[n % 2]}},
        presses=[{"Time": "2026-03-02T10:15:07", "Switch1": "OFF"}],
        idle=[*_RELAY, *_STATES, {"Switch1": {"Action": "ON"}}],
        nulls=[{"Time": None, "Switch1": None}, {"Time": "t", "Switch1": 0}],
        strange=[{"Time": "t", "Switch1": "AUS"}, {"Time": "t", "Schalter1": "AUS"}],
    ),
    Make(
        name="gen1-button",
        format="shelly-gen1",
        rest=lambda n: {"event": ("S", "")[n % 2], "event_cnt": 7},
        presses=[{"event": "L", "event_cnt": 8}, {"event": "S", "event_cnt": 9}],
        idle=[
            {"id": "shellybutton1-A4CF12F45174", "model": "SHBTN-1", "mac": "A4CF12F45174", "new_fw": False},
            *({"event": "S", "event_cnt": 7}, {"event": ""}, "true", "false", "97", "23.5", "on"),
        ],
        nulls=[
            {"event": None},
            {"event": None, "event_cnt": 7},
            {"event": 7},
            {"event": ["S"]},
            {"inputs": None},
        ],
        strange=[{"ereignis": "K", "anzahl": 8}, {"事件": "S"}, {"Event": "S", "Event_cnt": 8}],
    ),
    Make(
        name="gen1-switch",
        format="shelly-gen1",
        rest=lambda _: "0",
        presses=["1"],
        idle=["true", "false", "on", "off", "-3.5", {"relays": [{"ison": True}]}],
        nulls=["", "null", {"inputs": [{"input": None}]}],
        strange=["eins", "一", "geschlossen", "闭合"],
    ),
    Make(
        name="gen1-door-closed",
        format="shelly-gen1",
        normally_open=False,
        rest=lambda _: "close",
        presses=["open"],
        idle=["true", "97", {"bat": {"value": 90}}],
        nulls=["", "null", {"sensor": {"state": None}}],
        strange=["offen", "打开", {"sensor": {"state": "offen"}}],
    ),
    Make(
        name="gen2-button",
        format="shelly-gen2",
        input="input:2",
        rest=lambda n: _gen2("NotifyFullStatus", ts=n, **{"input:2": {"id": 2, "state": None}}),
        presses=[
            _event("single_push"),
            _event("btn_down", ts=1772417709.5),
            _event("btn_up", ts=1772417710.5),
        ],
        idle=[
            *(_event(w) for w in ("config_changed", "ota_progress", "sleep", "component_added")),
            *(_event("single_push", c) for c in ("input:1", "input:22", "script:1", "sys", "switch:2")),
            *("true", "false", {"id": 4, "src": "shelly", "result": {"state": "on"}}),
        ],
        nulls=[
            *(
                _event(None),
                _event("single_push", None),
                _gen2("NotifyEvent", events=None),
                _gen2("NotifyEvent"),
            ),
            *(
                {"method": "NotifyEvent", "params": None},
                _gen2("NotifyEvent", events=[None, 1, [], "single_push"]),
            ),
        ],
        strange=[
            _event("einzeldruck"),
            _event("单击"),
            _event("single_push", "eingang:2"),
            {"方法": "NotifyEvent"},
        ],
    ),
    Make(
        name="gen2-switch",
        format="shelly-gen2",
        rest=lambda n: {"id": 0, "state": False, "at": n},
        presses=[
            {"id": 0, "state": True},
            _gen2("NotifyStatus", ts=1, **{"input:0": {"id": 0, "state": True}}),
        ],
        idle=[{"id": 0, "output": True, "source": "init"}, {"id": 0, "state": None}, "true", "false"],
        nulls=[
            {"id": None, "state": True},
            {"id": 0, "state": "true"},
            {"id": 0, "state": 1},
            {"state": True},
        ],
        strange=[{"id": 0, "zustand": True}, {"id": 0, "状态": True}, {"id": 0, "State": True}],
    ),
    Make(
        name="gen2-switch-closed",
        format="shelly-gen2",
        input="0",
        normally_open=False,
        rest=lambda n: _gen2("NotifyStatus", ts=n, **{"input:0": {"id": 0, "state": True}}),
        presses=[_gen2("NotifyStatus", ts=1, **{"input:0": {"id": 0, "state": False}})],
        idle=[
            _gen2(
                "NotifyStatus", ts=1, **{"switch:0": {"id": 0, "output": False}, "input:1": {"state": False}}
            )
        ],
        nulls=[_gen2("NotifyStatus", ts=None, **{"input:0": None}), _gen2("NotifyStatus", **{"input:0": {}})],
        strange=[_gen2("StatusMelden", **{"input:0": {"id": 0, "state": False}}), {"状态": False}],
    ),
)


def raw(said: Any) -> bytes:
    """A bare word as it is, all else as JSON."""
    return said.encode() if isinstance(said, str) else json.dumps(said, ensure_ascii=False).encode()


def baselines() -> Iterator[tuple[str, bytes]]:
    """How the contacts stand: topic and payload, to be told first."""
    for make in MAKES:
        if make.rest is not None:
            # A count is a baseline where no event stands beside it.
            yield make.topic, raw(make.rest(1))


def near_misses(seed: int, count: int) -> Iterator[NearMiss]:
    """So many of them, over all makes and kinds."""
    chance = random.Random(seed)
    for n in range(count):
        make = chance.choice(MAKES)
        kind = chance.choices(list(_KINDS), [weight for _, weight in _KINDS.values()])[0]
        payload, flags = _KINDS[kind][0](make, chance, n)
        yield NearMiss(kind=kind, topic=make.topic, payload=payload, **flags)


_Made = tuple[bytes, dict[str, bool]]


def _retained(make: Make, chance: random.Random, _: int) -> _Made:
    return raw(chance.choice(make.presses)), {"retained": True}


def _repeated(make: Make, chance: random.Random, n: int) -> _Made:
    said = chance.choice(make.idle) if make.rest is None else make.rest(n)
    return raw(said), {"redelivered": chance.random() < 0.2}


def _truncated(make: Make, chance: random.Random, _: int) -> _Made:
    whole = raw(chance.choice(make.presses))
    return whole[: chance.randrange(len(whole))], {}


def _strange(make: Make, chance: random.Random, _: int) -> _Made:
    said = chance.choice(make.strange)
    if chance.random() < 0.2:
        return (said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)).encode(
            "gb18030", "replace"
        ), {}
    return raw(said), {}


def _deep(make: Make, chance: random.Random, _: int) -> _Made:
    """The press itself, wrapped up as deep as a document may be."""
    said = chance.choice(make.presses)
    inside, depth = json.dumps(said), chance.choice((1, 2, 5, 50, 500, 5000))
    opening, closing = chance.choice((("[", "]"), ('{"x":', "}"), ('{"payload":[', "]}")))
    return (opening * depth + inside + closing * depth).encode(), {}


def _huge(make: Make, chance: random.Random, _: int) -> _Made:
    """The press itself, in more bytes than any contact sends."""
    said = chance.choice(make.presses)
    if isinstance(said, str):
        return said.encode() + b" " * HUGE_BYTES, {}
    return raw({"pad": "x" * HUGE_BYTES, **said}), {}


def _null(make: Make, chance: random.Random, _: int) -> _Made:
    return chance.choice(
        (raw(chance.choice(make.nulls)), b"", b"null", b"{}", b"[]", b'""', b"NaN", b"\x00")
    ), {}


def _junk(make: Make, chance: random.Random, _: int) -> _Made:
    """Bytes that mean nothing, and a press with one of its bytes made impossible."""
    whole = raw(chance.choice(make.presses))
    if chance.random() < 0.5 or len(whole) < 10:
        return b"\xff" + chance.randbytes(chance.randrange(40)), {}
    at = chance.randrange(len(whole))
    return whole[:at] + b"\xff" + whole[at + 1 :], {}


def _idle(make: Make, chance: random.Random, _: int) -> _Made:
    return raw(chance.choice(make.idle)), {}


#: Each kind with how often it comes; the huge ones are the rarest, since each is written to the disk in part.
_KINDS: dict[str, tuple[Callable[[Make, random.Random, int], _Made], float]] = {
    "retained": (_retained, 2),
    "repeated": (_repeated, 3),
    "truncated": (_truncated, 2),
    "other language": (_strange, 2),
    "deep": (_deep, 1),
    "huge": (_huge, 0.03),
    "null": (_null, 1.5),
    "junk": (_junk, 1),
    "idle": (_idle, 2),
}
