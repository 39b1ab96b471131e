"""What the HTTP face is built from. Imports no web framework, so that naming the parts costs nothing at start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.alarm.answering import Answering
from gateway.alarm.drilling import Drilling
from gateway.domain.envelope import Envelopes
from gateway.domain.links import LinkSigner
from gateway.domain.plan import Site
from gateway.ports.cameras import CameraBank
from gateway.ports.clock import Clock
from gateway.ports.objects import ObjectStore
from gateway.ports.store import Store
from gateway.recording.exporting import Exporting
from gateway.recording.retention import Keeping
from gateway.watch.access_register import Registering


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: one entry of the site file's ``access``. ``role`` is centre, guard, technician or inspector."""

    name: str
    unit: str
    role: str


@dataclass(kw_only=True)
class ApiParts:
    """Everything the HTTP face needs, made by the wiring.

    ``tokens`` maps a bearer token to its caller. ``readiness`` says whether a press would be committed now, and names what
    else is not well. ``last_seen`` gives per point ``at``, ``battery``, ``tamper`` and ``test``, as far as the contact told.
    ``contact_health`` gives per point ``causes``, ``state``, ``unreadable``, ``online``, ``online_since``
    and ``qos``. ``metrics`` is Prometheus text.
    """

    site: Site
    store: Store
    clock: Clock
    answering: Answering
    drilling: Drilling
    registering: Registering
    exporting: Exporting
    keeping: Keeping
    cameras: CameraBank
    objects: ObjectStore
    envelopes: Envelopes
    links: LinkSigner
    tokens: Mapping[str, Caller]
    readiness: Callable[[], tuple[bool, list[str]]]
    last_seen: Callable[[], Mapping[str, Mapping[str, object]]]
    metrics: Callable[[], bytes]
    version: str
    centre_name: str
    contact_health: Callable[[], Mapping[str, Mapping[str, object]]] = dict


def readiness(parts: ApiParts, *, names: bool) -> tuple[int, dict[str, object]]:
    """Status and body of ``/readyz``: 200 once a press would be committed, 503 otherwise. What else is not well is listed in
    ``degraded`` and does not change the status: a gateway that nobody can reach, or without pictures, still takes a press.

    With ``names`` each entry is ``kind:subject``. Without, for a caller who showed no token, an entry is ``kind: number``:
    which camera or contact does not work is of use to a burglar.
    """
    ready, degraded = parts.readiness()
    listed = list(degraded) if names else counted(degraded)
    return (200 if ready else 503), {"status": "ready" if ready else "not ready", "degraded": listed}


def counted(degraded: Iterable[str]) -> list[str]:
    """``kind:subject`` entries as ``kind: number``, one for each kind."""
    kinds = Counter(entry.partition(":")[0] for entry in degraded)
    return [f"{kind}: {number}" for kind, number in sorted(kinds.items())]
