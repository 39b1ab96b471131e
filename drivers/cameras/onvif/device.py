"""ONVIF: from a device's address to the addresses of its stream and snapshot, and the state of its clock.

Six questions, asked so that no single odd answer costs the camera: what is not needed may be missing or wrong, every service
has a next place where it may be, and what is needed and missing is named. Runs in a short-lived process (``onvif_resolve``),
since what cameras send is parsed here. One file of more than 400 lines, as the questions are one conversation: each is asked by
what the ones before were answered.

Verified against the simulated camera, also behind a proxy that rewrites its answers; sources: ONVIF Core, Media (ver10) and
Media2 (ver20) specifications.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from drivers.cameras.http.conversation import Conversation
from drivers.cameras.http.door import Place, stream_at, web_places
from drivers.cameras.http.exchange import Unreached
from drivers.cameras.onvif import soap
from drivers.cameras.onvif.profiles import USABLE, Profile, choose, choose_live, choose_sub, profiles_of
from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Refused, Unavailable

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA1 = "http://www.onvif.org/ver10/media/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
MEDIA = (MEDIA2, MEDIA1)
"""In the order they are asked: the first media service cannot name H.265."""

DEVICE_PATH = "/onvif/device_service"
USUAL_PATHS = ((MEDIA1, "/onvif/media_service"), (MEDIA2, "/onvif/media2_service"), (MEDIA1, DEVICE_PATH))
"""Where the media services of most cameras are, for those that do not tell."""

DEADLINE_S = 12.0
"""For all questions to one camera together; a good one answers them in half a second."""

ANSWER_S = 3.0
"""For each answer: one that hangs must leave time for the next road."""

SUB_S = 2.0
MOST_EXCHANGES = 60
MOST_TRIED = 6
"""Profiles asked for their address, until one names it."""

LARGEST = 1 << 20
"""Bytes of the largest answer read; a camera with thirty-two profiles has some 100 kB."""

IF_ASKED = (False, True)
UNSURE_OF_CLOCK = ", or set the camera's clock: it tells none that can be read, and a wrong clock is refused in the same way"

BELIEVABLE_YEARS = range(1970, 2100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Where a camera's pictures are, as reached from here. ``clock_offset_s`` is its clock minus ours, told in whole
    seconds by the camera, ``None`` where it tells none that can be believed. ``live_url`` is its H.264 stream besides the main
    one, ``sub_url`` one of a smaller picture; ``None`` if there is none. ``snapshot_url`` is as the camera names it."""

    stream_url: str
    snapshot_url: str | None
    clock_offset_s: float | None
    profile: str
    live_url: str | None = None
    sub_url: str | None = None


Services = dict[str, list[Place]]
"""Where each service may be, by its namespace, the best place first."""


async def resolve(address: OnvifAddress) -> Resolved:
    """Ask one camera. Raises ``Refused`` on wrong credentials, ``Unavailable`` with the reason for anything else."""
    where = f"ONVIF at {address.host}:{address.port}"
    inquiry = Inquiry(address)
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await inquiry.resolved()
    except TimeoutError:
        raise Unavailable(
            f"{where} did not finish answering in {DEADLINE_S:.0f} s ({inquiry.failures or 'nothing came'})"
        ) from None
    except Refused as exc:
        raise Refused(
            f"{where} refuses user name or password: correct them in the site file{exc.reason}"
        ) from None
    except Unavailable as exc:
        raise Unavailable(f"{where}: {exc.reason}") from None


class Inquiry:
    """All questions to one camera, in one go."""

    def __init__(self, address: OnvifAddress) -> None:
        self._address = address
        self._account = soap.Account(address.username, address.password) if address.username else None
        self._conversation = Conversation(address.username, address.password, most=MOST_EXCHANGES)
        self._clock_offset: timedelta | None = None
        self._version = "1.2"
        self._answered: dict[Place, Place] = {}
        self._failures: dict[str, list[str]] = {}
        self._refused: Refused | None = None

    @property
    def failures(self) -> str:
        """What went wrong so far, each reason with the questions it was the answer to; empty if nothing did."""
        return "; ".join(f"{', '.join(asked)}: {reason}" for reason, asked in self._failures.items())

    def _failed(self, asked: str, exc: Unavailable) -> None:
        questions = self._failures.setdefault(exc.reason, [])
        if asked not in questions:
            questions.append(asked)

    async def resolved(self) -> Resolved:
        """Raises ``Refused`` (its reason is a hint, or empty) and ``Unavailable`` in words."""
        device = [self._place(DEVICE_PATH)]
        await self._read_clock(device)
        async for services in self._roads(device):
            profiles = await self._profiles(services)
            if profiles:
                return await self._addresses(services, profiles)
        if self._refused is not None:
            raise self._refused
        raise Unavailable(self.failures)

    # ------------------------------------------------------------------ what is asked

    async def _read_clock(self, device: list[Place]) -> None:
        """Wanted for log-in tokens, which are good around the camera's own time. Without it, ours is used."""
        try:
            answer = await self._ask(device, DEVICE, "GetSystemDateAndTime", tokens=(False,))
        except Unreached:
            raise
        except Unavailable as exc:
            self._failed("GetSystemDateAndTime", exc)
            return
        told = _moment(answer)
        self._clock_offset = None if told is None else told - datetime.now(UTC)

    async def _roads(self, device: list[Place]) -> AsyncIterator[Services]:
        """The ways in which a camera's media services may be found, as long as somebody asks for the next."""
        seen: list[Services] = []
        for asked, road in (("GetServices", self._by_services), ("GetCapabilities", self._by_capabilities)):
            try:
                services = await road(device)
            except Unavailable as exc:
                self._failed(asked, exc)
                continue
            except _TokenRefused as exc:
                # Some refuse this question whoever asks. Whether it was the password shows at a service that needs one: so
                # a wrong one is tried twice at most.
                self._refused = exc
                continue
            if services and services not in seen:
                seen.append(services)
                yield services
        for namespace, path in USUAL_PATHS:
            if {namespace: [self._place(path)]} not in seen:
                yield {namespace: [self._place(path)]}

    async def _by_services(self, device: list[Place]) -> Services:
        inside = "<q:IncludeCapability>false</q:IncludeCapability>"
        answer = await self._ask(device, DEVICE, "GetServices", inside, tokens=IF_ASKED)
        named = {
            soap.text_at(each, "Namespace").rstrip("/"): soap.text_at(each, "XAddr")
            for each in soap.descendants(answer, "Service")
        }
        return self._services({namespace: named[namespace] for namespace in MEDIA if namespace in named})

    async def _by_capabilities(self, device: list[Place]) -> Services:
        inside = "<q:Category>All</q:Category>"
        answer = await self._ask(
            device, DEVICE, "GetCapabilities", inside, tokens=(False,) if self._refused else IF_ASKED
        )
        found = {
            namespace: next(soap.descendants(answer, name), None)
            for namespace, name in ((MEDIA2, "Media2"), (MEDIA1, "Media"))
        }
        return self._services(
            {namespace: soap.text_at(each, "XAddr") for namespace, each in found.items() if each is not None}
        )

    def _services(self, named: dict[str, str]) -> Services:
        services: Services = {}
        for namespace, urls in named.items():
            with contextlib.suppress(Unavailable):
                # Ours first, unlike with pictures: the device service answered there, and behind NAT nothing else does.
                places = web_places(
                    (urls.split() or [""])[0], self._address.host, self._address.port, "media service"
                )
                services[namespace] = places[::-1]
        if not services:
            raise Unavailable("the answer names no media service")
        return services

    async def _profiles(self, services: Services) -> list[tuple[str, Profile]]:
        """The profiles of the first media service that has one we can use, each with that service; of any if none has."""
        others: list[tuple[str, Profile]] = []
        for namespace in (each for each in MEDIA if each in services):
            kinds = "<q:Type>VideoEncoder</q:Type>" if namespace == MEDIA2 else ""
            try:
                found = profiles_of(await self._ask(services[namespace], namespace, "GetProfiles", kinds))
                if not found:
                    raise Unavailable(
                        "the answer names no media profile: set one up in the camera, with H.264"
                    )
            except Unavailable as exc:
                self._failed("GetProfiles", exc)
                continue
            if any(each.encoding in USABLE for each in found):
                return [(namespace, each) for each in found]
            others = [(namespace, each) for each in found] or others
        return others

    async def _addresses(self, services: Services, offered: list[tuple[str, Profile]]) -> Resolved:
        namespace, profiles = offered[0][0], [profile for _, profile in offered]
        order = [namespace, *(each for each in services if each != namespace)]
        stream_of = functools.partial(self._stream_url, services, order)
        left = list(profiles)
        failures: list[str] = []
        for _ in range(MOST_TRIED):
            try:
                main = choose(left)
            except Unavailable as exc:
                raise Unavailable("; ".join(failures) or exc.reason) from None
            try:
                main_url = await stream_of(main)
                break
            except Unavailable as exc:
                failures.append(exc.reason)
                left.remove(main)
        else:
            raise Unavailable("; ".join(failures))
        live, sub = choose_live(left, main), choose_sub(left, main)
        same = live is not None and sub is not None and live.token == sub.token
        snapshot_url, live_url, sub_url = await asyncio.gather(
            self._unneeded(self._snapshot_url(services, order, main)),
            self._unneeded(stream_of(live) if live is not None else None),
            self._unneeded(stream_of(sub) if sub is not None and not same else None),
        )
        return Resolved(
            stream_url=main_url,
            snapshot_url=snapshot_url,
            clock_offset_s=None if self._clock_offset is None else self._clock_offset.total_seconds(),
            profile=str(main),
            live_url=live_url,
            sub_url=live_url if same else sub_url,
        )

    async def _unneeded(self, question: Awaitable[str | None] | None) -> str | None:
        """An address without which the camera does its work: what goes wrong with it must not cost the camera."""
        if question is None:
            return None
        with contextlib.suppress(Unavailable, Refused, TimeoutError):
            async with asyncio.timeout(SUB_S):
                return await question
        return None

    async def _stream_url(self, services: Services, order: list[str], profile: Profile) -> str:
        reasons: list[str] = []
        for namespace in order:
            if namespace == MEDIA2:
                inside = "<q:Protocol>RTSP</q:Protocol>"
            else:
                inside = (
                    "<q:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol>"
                    "</tt:Transport></q:StreamSetup>"
                )
            try:
                url = await self._uri(services[namespace], namespace, "GetStreamUri", inside, profile)
                return stream_at(url, self._address.host)
            except Unavailable as exc:
                reasons.append(exc.reason)
        raise Unavailable("; ".join(dict.fromkeys(reasons)))

    async def _snapshot_url(self, services: Services, order: list[str], profile: Profile) -> str | None:
        """As the camera names it: where it is had is judged when it is fetched. ``None`` also where it names its RTSP stream."""
        for namespace in order:
            with contextlib.suppress(Unavailable):
                url = await self._uri(services[namespace], namespace, "GetSnapshotUri", "", profile)
                web_places(url, self._address.host, self._address.port, "snapshot")
                return url
        return None

    async def _uri(
        self, places: list[Place], namespace: str, name: str, inside: str, profile: Profile
    ) -> str:
        token = f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        try:
            answer = await self._ask(places, namespace, name, inside + token)
        except Unavailable as exc:
            raise Unavailable(f"{name} for its profile {profile}: {exc.reason}") from None
        url = next(
            (each.text.strip() for each in soap.descendants(answer, "Uri") if (each.text or "").strip()), ""
        )
        if not url:
            raise Unavailable(f"{name} for its profile {profile}: the answer names no address")
        return str(url)

    # ------------------------------------------------------------------ how it is asked

    def _place(self, path: str) -> Place:
        return Place("http", self._address.host, self._address.port, path)

    async def _ask(
        self,
        places: list[Place],
        namespace: str,
        name: str,
        inside: str = "",
        *,
        tokens: tuple[bool, ...] = (True,),
    ) -> Any:
        """What stands in the answer. ``places`` are where the service may be; the one that answered is asked first from then on.

        Raises ``Refused``, ``Unavailable`` with what is wrong at the first place.
        """
        known = self._answered.get(places[0])
        failure: Unavailable | None = None
        for place in [known] if known is not None else places:
            try:
                answer = await self._at(place, namespace, name, inside, tokens)
            except Unavailable as exc:
                failure = failure or exc
            else:
                self._answered[places[0]] = place
                return answer
        assert failure is not None
        raise failure

    async def _at(
        self, place: Place, namespace: str, name: str, inside: str, tokens: tuple[bool, ...]
    ) -> Any:
        """With or without a log-in token, in this order, until one of them is let in. What the specification lets everybody ask
        is asked without first: so a wrong password is tried once, and the clock, by which tokens are made, is had of all."""
        for with_token in tokens:
            try:
                return await self._once(place, namespace, name, inside, with_token)
            except _LoginWanted as wanted:
                if self._account is None:
                    raise Unavailable(
                        "it asks for a user name and password: the site file gives none for it"
                    ) from None
                if wanted.by_http:
                    raise Refused("") from None
                if with_token:
                    unsure = self._clock_offset is None
                    raise _TokenRefused(UNSURE_OF_CLOCK if unsure else "") from None
        raise Unavailable("it lets nobody ask that without a log-in")

    async def _once(self, place: Place, namespace: str, name: str, inside: str, with_token: bool) -> Any:
        account = self._account if with_token else None

        def body() -> bytes:
            now = datetime.now(UTC) + (self._clock_offset or timedelta())
            security = account.token(now) if account is not None else ""
            return soap.question(namespace, name, inside, security=security, version=self._version)

        for _ in range(2):
            try:
                reply = await self._conversation.ask(
                    place,
                    "POST",
                    head=soap.head(namespace, name, version=self._version),
                    body=body,
                    largest=LARGEST,
                    within_s=ANSWER_S,
                    whole=soap.is_whole,
                )
            except Refused:
                raise _LoginWanted(by_http=True) from None
            fault: soap.Fault | None = None
            try:
                return soap.answer(reply.body)
            except soap.Unreadable:
                pass
            except soap.Fault as exc:
                fault = exc
            if reply.status in (401, 403) or (fault is not None and fault.refuses_login):
                raise _LoginWanted(by_http=False)
            other = reply.status == 415 or (fault is not None and fault.wants_other_version)
            if not other or self._version == "1.1":
                break
            self._version = "1.1"
        if fault is not None:
            raise Unavailable(f"it answers with a fault ({fault})")
        if reply.status != 200:
            raise Unavailable(f"it answers {reply.status}")
        kind = reply.first("content-type").partition(";")[0].strip()[:40]
        raise Unavailable(
            f"it answers with {kind or 'something'} that is no SOAP"
            if reply.body
            else "it answers with nothing"
        )


class _TokenRefused(Refused):
    """User name and password were tried in a security header, and refused."""


class _LoginWanted(Exception):
    """It lets in nobody who asks like that. ``by_http``: user name and password were tried by HTTP and refused."""

    def __init__(self, *, by_http: bool) -> None:
        super().__init__()
        self.by_http = by_http


def _moment(answer: Any) -> datetime | None:
    """The camera's own time; ``None`` if it is missing, or none of any calendar."""
    told = next(soap.descendants(answer, "UTCDateTime"), None)
    if told is None:
        return None
    try:
        year, month, day = (int(soap.text_at(told, "Date", each)) for each in ("Year", "Month", "Day"))
        hour, minute, second = (
            int(soap.text_at(told, "Time", each)) for each in ("Hour", "Minute", "Second")
        )
        midnight = datetime(year, month, day, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    # 24:00 is the end of the day, and second 60 a leap second.
    if year not in BELIEVABLE_YEARS or not (0 <= hour <= 24 and 0 <= minute < 60 and 0 <= second <= 60):
        return None
    return midnight + timedelta(hours=hour, minutes=minute, seconds=second)
