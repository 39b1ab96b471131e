"""Which faults each kind of simulator can play in a plan, and what each of the words means there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One fault of one kind of simulator: what it is, and the values a plan draws from (none: it has no value).

    `unit` follows the value; `whole`: only whole numbers; `signed`: below zero as well.
    """

    what: str
    values: tuple[float, ...] = ()
    unit: str = ""
    whole: bool = False
    signed: bool = False


KINDS: dict[str, dict[str, Kind]] = {
    "button": {
        "none": Kind(what="a press in good order"),
        "drop": Kind(what="a press that is lost on its way"),
        "delay": Kind(what="a press that leaves so much later", values=(0.5, 2.0, 5.0), unit="s"),
        "duplicate": Kind(
            what="so many copies right behind the press", values=(1, 2, 4), unit="copies", whole=True
        ),
        "bounce": Kind(what="so many copies, 10 ms apart", values=(1, 4), unit="copies", whole=True),
        "reorder": Kind(what="the next press overtakes this one"),
        "retained": Kind(what="the broker keeps a copy and delivers it again at every reconnection"),
        "skew": Kind(
            what="a press whose hardware clock is so far off",
            values=(-172_800, -600, 600, 172_800),
            unit="s",
            signed=True,
        ),
        "wrong-password": Kind(what="a device that the broker does not let in"),
        "cut": Kind(
            what="only the beginning of the press arrives", values=(1, 8, 15), unit="bytes", whole=True
        ),
    },
    "camera": {
        "drop": Kind(
            what="every so many-th packet of the pictures is lost",
            values=(50, 200, 1000),
            unit="packets",
            whole=True,
        ),
        "delay": Kind(what="pictures are sent so much later", values=(0.5, 2.0, 5.0), unit="s"),
        "duplicate": Kind(
            what="every so many-th packet comes twice", values=(20, 100), unit="packets", whole=True
        ),
        "reorder": Kind(
            what="every so many-th packet comes behind the next one",
            values=(20, 100),
            unit="packets",
            whole=True,
        ),
        "refuse": Kind(what="nobody listens at its ports; sessions are cut"),
        "freeze": Kind(what="connections stay open, no picture comes"),
        "skew": Kind(
            what="its clock (not the picture) is so far ahead", values=(-90, 2.5, 90), unit="s", signed=True
        ),
        "wrong-password": Kind(what="every log-in is refused"),
        "slow": Kind(what="stills and ONVIF are answered so much later", values=(1.5, 6.0), unit="s"),
        "cut": Kind(
            what="each session ends in the middle of a frame after so many, each still half-way",
            values=(10, 60),
            unit="frames",
            whole=True,
        ),
    },
    "centre": {
        "drop": Kind(what="connections are reset without an answer; nothing is taken"),
        "delay": Kind(what="every answer comes so much later", values=(0.5, 3.0, 12.0), unit="s"),
        "duplicate": Kind(
            what="each reply and request goes out so many times more", values=(1, 3), unit="times", whole=True
        ),
        "reorder": Kind(
            what="every other message is taken after the one behind it, or so much later",
            values=(0.5, 2.0),
            unit="s",
        ),
        "refuse": Kind(what="nobody listens: connections are refused"),
        "freeze": Kind(what="connections are accepted and never answered"),
        "skew": Kind(
            what="its clock is so far ahead; beyond 300 s it refuses every signature as too old",
            values=(-900, -120, 120, 900),
            unit="s",
            signed=True,
        ),
        "wrong-password": Kind(what="it has another secret: everything is answered 401"),
        "slow": Kind(what="the answer trickles", values=(10, 100), unit="bytes/s", whole=True),
        "cut": Kind(what="messages are taken and answers cut in mid-body"),
    },
    "media": {
        "drop": Kind(what="what is PUT is reset before its body"),
        "refuse": Kind(what="every PUT is answered 503"),
        "wrong-password": Kind(what="every PUT is answered 401"),
        "slow": Kind(what="bodies are read no faster", values=(20_000, 200_000), unit="bytes/s", whole=True),
        "cut": Kind(what="PUTs are reset after so much of the body", values=(10, 50, 90), unit="%"),
    },
}
"""What each kind of simulator can play, by one word for what is alike; `media` is the place at the centre where a school with
`media: push` PUTs its pictures."""


def kind_of(simulator: str) -> str:
    """`camera` for `camera-3`, any other name as it is; empty for a camera without a number."""
    name, _, number = simulator.partition("-")
    if name != "camera":
        return simulator
    return "camera" if number.isascii() and number.isdigit() and int(number) > 0 else ""
