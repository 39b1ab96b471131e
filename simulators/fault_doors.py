"""The doors by which a plan's faults get to the simulators: control addresses, and a broker to press a button on."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import aiohttp

from simulators.button import ButtonError, ButtonFault, Pending, SimulatedButton, gateway_payload
from simulators.centre.faults import HEALTHY
from simulators.centre.put_faults import PutFaults
from simulators.fault_kinds import kind_of
from simulators.faults import PlannedFault

_DOOR_TIMEOUT = aiohttp.ClientTimeout(total=5)
_HEAL_TRIES = 3
_ACKNOWLEDGED_WITHIN_S = 10.0


class DoorError(RuntimeError):
    """A simulator could not be reached or does not take the fault; says which and why."""


class Door(Protocol):
    """Where a simulator takes its faults."""

    async def open(self) -> None: ...
    async def begin(self, line: PlannedFault) -> str: ...
    async def end(self, line: PlannedFault) -> str: ...
    async def close(self) -> list[str]: ...


def camera_faults(line: PlannedFault) -> dict[str, object]:
    """What a simulated camera is told, in the names of `CameraFaults`."""
    value = line.value
    whole = int(value) if value is not None else None
    documents: dict[str, dict[str, object]] = {
        "drop": {"lose_every_packets": whole},
        "delay": {"frame_delay_s": value},
        "duplicate": {"repeat_every_packets": whole},
        "reorder": {"swap_every_packets": whole},
        "refuse": {"refuse_connections": True},
        "freeze": {"freeze": True},
        "skew": {"clock_skew_s": value},
        "wrong-password": {"reject_login": True},
        "slow": {"snapshot_delay_s": value, "onvif_delay_s": value},
        "cut": {"cut_after_frames": whole, "snapshot_cut": True},
    }
    return documents[line.fault]


def centre_faults(line: PlannedFault) -> dict[str, object]:
    """What a simulated centre is told, in the names of its `Faults`."""
    value = line.value
    whole = int(value) if value is not None else None
    documents: dict[str, dict[str, object]] = {
        "drop": {"answer": "drop"},
        "delay": {"delay_s": value},
        "duplicate": {"repeat_replies": whole},
        "reorder": {"reorder_s": value},
        "refuse": {"refuse": True},
        "freeze": {"answer": "hang"},
        "skew": {"clock_skew_s": value},
        "wrong-password": {"answer": "status", "status": 401},
        "slow": {"answer": "slow", "bytes_per_s": whole},
        "cut": {"answer": "cut"},
    }
    return documents[line.fault]


def media_faults(line: PlannedFault) -> dict[str, object]:
    """What a simulated centre is told of what is PUT to it, in the names of `PutFaults`."""
    documents: dict[str, dict[str, object]] = {
        "drop": {"answer": "drop"},
        "refuse": {"answer": "status", "status": 503},
        "wrong-password": {"answer": "status", "status": 401},
        "slow": {"bytes_per_s": int(line.value or 0)},
        "cut": {"answer": "cut", "percent": line.value},
    }
    return documents[line.fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Control:
    """A kind of control address: its path, what is posted for a fault, good order by the same names (none: an empty object
    is good order), and a name by which it is known."""

    path: str
    document: Callable[[PlannedFault], dict[str, object]]
    healthy: object
    known_by: str


_CONTROLS = {
    "camera": _Control(path="/_faults", document=camera_faults, healthy=None, known_by="freeze"),
    "centre": _Control(path="/control/faults", document=centre_faults, healthy=HEALTHY, known_by="refuse"),
    "media": _Control(
        path="/control/put-faults", document=media_faults, healthy=PutFaults(), known_by="percent"
    ),
}


def button_fault(line: PlannedFault) -> ButtonFault:
    """What happens to the press on its way; nothing for what is wrong with the device itself."""
    whole = int(line.value) if line.value is not None else 0
    return {
        "drop": ButtonFault(drop=True),
        "delay": ButtonFault(delay_s=line.value or 0.0),
        "duplicate": ButtonFault(duplicates=whole),
        "bounce": ButtonFault(bounces=whole),
        "reorder": ButtonFault(reorder=True),
        "retained": ButtonFault(retained_copy=True),
        "cut": ButtonFault(cut_to_bytes=whole),
    }.get(line.fault, ButtonFault())


class HttpDoor:
    """The control address of a camera or a centre. What a plan did not change is left as the operator set it, at the centre;
    a camera takes all its faults at once."""

    def __init__(self, name: str, url: str) -> None:
        """`url` is a camera's HTTP address or a centre's page."""
        self._control = _CONTROLS[kind_of(name)]
        self._url = url.rstrip("/") + self._control.path
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Raises DoorError if nobody of the kind answers there."""
        self._http = aiohttp.ClientSession(timeout=_DOOR_TIMEOUT)
        try:
            async with self._http.get(self._url) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            await self.close()
            raise DoorError(f"{self._url} does not answer ({type(error).__name__}: {error})") from error
        if answer.status != 200 or not self._is_known(said):
            await self.close()
            raise DoorError(
                f"{self._url} answers, but not as a simulator's control address ({answer.status})"
            )

    def _is_known(self, said: bytes) -> bool:
        try:
            document = json.loads(said)
        except ValueError:
            return False
        return isinstance(document, dict) and self._control.known_by in document

    async def begin(self, line: PlannedFault) -> str:
        await self._tell(self._control.document(line))
        return "begun"

    async def end(self, line: PlannedFault) -> str:
        good = self._control.healthy
        healthy = {} if good is None else {name: getattr(good, name) for name in self._control.document(line)}
        for left in range(_HEAL_TRIES - 1, -1, -1):
            try:
                await self._tell(healthy)
            except DoorError:
                if not left:
                    raise
                await asyncio.sleep(0.5)
            else:
                break
        return "ended"

    async def close(self) -> list[str]:
        http, self._http = self._http, None
        if http is not None:
            await http.close()
        return []

    async def _tell(self, document: Mapping[str, object]) -> None:
        assert self._http is not None
        try:
            async with self._http.post(self._url, json=document) as answer:
                if answer.status != 200:
                    words = (await answer.text())[:300]
                    raise DoorError(
                        f"{self._url} does not take {json.dumps(document)}: {answer.status} {words}"
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DoorError(f"{self._url} does not answer ({type(error).__name__}: {error})") from error


class ButtonDoor:
    """A device for the gateway's own format that is pressed once for each line, on its topics in turn."""

    def __init__(self, broker: str, topics: list[str], *, username: str | None, password: str | None) -> None:
        """Raises ValueError for an address that is none."""
        self._broker, self._topics = broker, topics
        self._username, self._password = username, password
        self._number = 0
        self._fault = ButtonFault()
        self._pending: list[tuple[PlannedFault, Pending]] = []
        self._button = SimulatedButton(broker, username=username, password=password, faults=self._faults())

    async def open(self) -> None:
        """Raises DoorError if the broker does not let it in."""
        try:
            await asyncio.to_thread(self._button.__enter__)
        except ButtonError as error:
            raise DoorError(str(error)) from error

    async def begin(self, line: PlannedFault) -> str:
        topic = self._topics[self._number % len(self._topics)]
        self._number += 1
        off = timedelta(seconds=line.value or 0.0) if line.fault == "skew" else timedelta()
        press_id = str(uuid.uuid4())
        payload = gateway_payload(press_id=press_id, at=datetime.now(UTC) + off)
        if line.fault == "wrong-password":
            return await asyncio.to_thread(self._press_as_a_stranger, topic, payload)
        self._fault = button_fault(line)
        pending = await asyncio.to_thread(self._button.publish, topic, payload)
        self._pending.append((line, pending))
        return f"pressed on {topic}, id {press_id}"

    async def end(self, line: PlannedFault) -> str:
        return ""

    async def close(self) -> list[str]:
        """Wait for the broker's acknowledgements; what it did not acknowledge is returned."""
        return await asyncio.to_thread(self._settle)

    def _settle(self) -> list[str]:
        problems = []
        until_s = time.monotonic() + _ACKNOWLEDGED_WITHIN_S
        for line, pending in self._pending:
            try:
                pending.wait(max(0.1, until_s - time.monotonic()))
            except ButtonError as error:
                problems.append(f"the press at {line.at_s:g} s: {error}")
        self._button.__exit__()
        return problems

    def _press_as_a_stranger(self, topic: str, payload: bytes) -> str:
        username = self._username or "simulated-button"
        try:
            with SimulatedButton(self._broker, username=username, password=secrets.token_hex(8)) as stranger:
                stranger.press(topic, payload)
        except ButtonError as error:
            return f"not let in: {error}"
        return f"let in, as the broker asks for no password; pressed on {topic}"

    def _faults(self) -> Iterator[ButtonFault]:
        while True:
            yield self._fault
