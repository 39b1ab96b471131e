"""Where a make of contact says whether it is there: derived from the topic its presses come on, as its vendor fixes it.

Pure text, no I/O. It stands in `config` because the site file's rules need it as much as the plan does.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Gen1 devices that sleep between two reports: their last will says `false` while nothing is wrong with them.
_SHELLY_SLEEPERS = ("shellybutton1-", "shellydw-", "shellydw2-", "shellyht-", "shellyflood-", "shellysmoke-")
#: What follows a Gen1 device's name on the topics it publishes (Shelly Gen1 API, "MQTT").
_SHELLY_GEN1_TAILS = frozenset({"input_event", "input", "longpush", "relay", "sensor", "status", "announce"})
_SHELLY_GEN2_TAILS = frozenset({"events", "status", "debug"})
NOT_WATCHED = "none"


@dataclass(frozen=True, slots=True)
class LivenessTopics:
    """``device`` is the contact's own topic; ``bridge`` that of the program which speaks for all of its contacts."""

    device: str | None = None
    bridge: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(topic for topic in (self.device, self.bridge) if topic is not None)


def liveness_topics(format_: str, topic: str, given: str | None = None) -> LivenessTopics:
    """The topics on which a contact's liveness is told; ``given`` is what the site file says (``none``: nowhere)."""
    if given == NOT_WATCHED:
        return LivenessTopics()
    derived = _derived(format_, topic)
    return derived if given is None else LivenessTopics(given, derived.bridge)


def _derived(format_: str, topic: str) -> LivenessTopics:
    parts = topic.split("/")
    match format_:
        case "zigbee2mqtt":
            return _zigbee2mqtt(topic, parts)
        case "tasmota":
            return LivenessTopics(_tasmota(parts))
        case "shelly-gen1":
            return LivenessTopics(_shelly_gen1(parts))
        case "shelly-gen2":
            return LivenessTopics(_before(parts, _SHELLY_GEN2_TAILS, "online"))
        case _:
            return LivenessTopics()


def _zigbee2mqtt(topic: str, parts: list[str]) -> LivenessTopics:
    """`BASE/NAME` or `BASE/NAME/action`; whether another end is a value or part of a name is not known, so it is taken for the
    name. A name may contain slashes and so may the base: it ends with the segment `zigbee2mqtt`, else with the first."""
    base = parts.index("zigbee2mqtt") + 1 if "zigbee2mqtt" in parts[:-1] else 1
    if len(parts) <= base:
        return LivenessTopics()
    name = topic.removesuffix("/action") if len(parts) > base + 1 else topic
    return LivenessTopics(f"{name}/availability", "/".join([*parts[:base], "bridge", "state"]))


def _tasmota(parts: list[str]) -> str | None:
    """FullTopic is `%prefix%/%topic%/` by default and may be turned round; the prefix of LWT is `tele` in any case."""
    for index, part in enumerate(parts[:-1]):
        if part in ("stat", "tele"):
            return "/".join([*parts[:index], "tele", *parts[index + 1 : -1], "LWT"])
    return None


def _shelly_gen1(parts: list[str]) -> str | None:
    """`shellies/NAME/…`; the name is the model and its id, or the technician's own."""
    if len(parts) < 3 or parts[0] != "shellies" or parts[1].lower().startswith(_SHELLY_SLEEPERS):
        return None
    return _before(parts, _SHELLY_GEN1_TAILS, "online")


def _before(parts: list[str], tails: frozenset[str], word: str) -> str | None:
    """Everything before the last of the known tails, and then ``word``."""
    for index in range(len(parts) - 1, 0, -1):
        if parts[index] in tails:
            return "/".join([*parts[:index], word])
    return None


def announcements(format_: str, topic: str) -> tuple[str, tuple[str, ...]]:
    """The name of the device behind a topic and where such a device announces itself at its start; empty where none does."""
    parts = topic.split("/")
    if format_ != "shelly-gen1" or _shelly_gen1(parts) is None:
        return "", ()
    return parts[1], (f"shellies/{parts[1]}/announce", "shellies/announce")
