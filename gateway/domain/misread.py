"""Whether a message that was not understood is one of another make: the site file may name the wrong format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gateway.domain.contact import Signal, SignalKind
from gateway.domain.words import PUSHES

#: What only the make that means it would be read to say: telemetry and odd forms fit several.
_TELLING = PUSHES | {SignalKind.CLOSED, SignalKind.OPENED, SignalKind.COUNTED, SignalKind.LOWERED}


def reads_as(payload: bytes, format_: str, codecs: Mapping[str, Callable[..., Sequence[Signal]]]) -> str:
    """A hint to stand in front of why ``payload`` could not be understood as ``format_``; empty where no other codec reads a push
    or a state from it. Never raises."""
    others = [name for name, codec in codecs.items() if name != format_ and _is_read(codec, payload)]
    if not others:
        return ""
    return f"it reads as {' or '.join(others)}: is points[].mqtt.format right? "


def _is_read(codec: Callable[..., Sequence[Signal]], payload: bytes) -> bool:
    try:
        return any(signal.kind in _TELLING for signal in codec(payload))
    except Exception:  # Malformed as a rule; whatever it is, this codec does not read it
        return False
