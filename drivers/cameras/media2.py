"""ONVIF's second media service, which alone can name H.265: the three questions asked of it, and how its answers are read.

The SOAP library brings no description of this service, so its envelopes are written here; transport, log-in and the camera's
time are those of the library. Source: ONVIF Media2 Service Specification 5.2 (profiles), 5.8 (addresses).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import zeep.exceptions
from lxml import etree  # type: ignore[import-untyped]
from onvif.client import UsernameDigestTokenDtDiff
from onvif.exceptions import ONVIFError

from gateway.domain.errors import Unavailable

MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"
SOAP = "http://www.w3.org/2003/05/soap-envelope"
LARGEST = 4 << 20
"""Bytes of the largest answer read; a camera with thirty-two profiles has some 100 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What matters of a media profile. ``encoding`` is ONVIF's name (``H264``, ``H265``, ``JPEG``, …)."""

    token: str
    encoding: str
    width: int
    height: int
    frames_per_s: float

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.encoding} {self.width}x{self.height}"


class Media2:
    """The service of one camera, at ``address``. Whatever is not answered as it should be is ``Unavailable``."""

    def __init__(self, address: str, transport: Any, login: Any | None) -> None:
        self._address = address
        self._transport = transport
        self._login = login

    @classmethod
    def of(cls, camera: Any, media: Any) -> Media2 | None:
        """The service if the camera names it, asked through the transport of its first media service."""
        address = camera.xaddrs.get(MEDIA2)
        if not address:
            return None
        login = None
        if camera.user:
            login = UsernameDigestTokenDtDiff(
                camera.user, camera.passwd, dt_diff=camera.dt_diff, use_digest=True
            )
        return cls(address, media.transport, login)

    async def profiles(self) -> list[Profile]:
        """All profiles with their video encoders."""
        answer = await self._ask("GetProfiles", ("Type", "VideoEncoder"))
        return [_profile(each) for each in answer.iter(f"{{{MEDIA2}}}Profiles")]

    async def uri(self, question: str, token: str) -> str:
        """``GetStreamUri`` (by RTSP) or ``GetSnapshotUri`` of a profile."""
        protocol = (("Protocol", "RTSP"),) if question == "GetStreamUri" else ()
        answer = await self._ask(question, *protocol, ("ProfileToken", token))
        uri = (answer.findtext(f".//{{{MEDIA2}}}Uri") or "").strip()
        if not uri:
            raise Unavailable(f"the camera's Media2 service answers {question} without an address")
        return uri

    async def _ask(self, question: str, *fields: tuple[str, str]) -> Any:
        envelope = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"s": SOAP, "tr2": MEDIA2})
        etree.SubElement(envelope, f"{{{SOAP}}}Header")
        asked = etree.SubElement(etree.SubElement(envelope, f"{{{SOAP}}}Body"), f"{{{MEDIA2}}}{question}")
        for name, text in fields:
            etree.SubElement(asked, f"{{{MEDIA2}}}{name}").text = text
        if self._login is not None:
            envelope, _ = self._login.apply(envelope, {})
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{MEDIA2}/{question}"'}
        try:
            answer = await self._transport.post_xml(self._address, envelope, headers)
        except (aiohttp.ClientError, OSError, zeep.exceptions.Error, ONVIFError) as exc:
            raise Unavailable(f"the camera's Media2 service cannot be asked: {exc}") from exc
        if answer.status_code != 200 or len(answer.content) > LARGEST:
            raise Unavailable(f"the camera's Media2 service answers {answer.status_code} to {question}")
        try:
            return etree.fromstring(
                answer.content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            )
        except etree.XMLSyntaxError as exc:
            raise Unavailable(
                f"the camera's Media2 service answers {question} with what is no XML: {exc}"
            ) from exc


def _profile(profile: Any) -> Profile:
    encoder = profile.find(f"{{{MEDIA2}}}Configurations/{{{MEDIA2}}}VideoEncoder")
    token = str(profile.get("token", ""))
    if encoder is None:
        return Profile(token=token, encoding="no video", width=0, height=0, frames_per_s=0.0)

    def number(path: str) -> float:
        text = encoder.findtext("/".join(f"{{{SCHEMA}}}{step}" for step in path.split("/")))
        try:
            return float(text or 0)
        except ValueError:
            return 0.0

    return Profile(
        token=token,
        encoding=(encoder.findtext(f"{{{SCHEMA}}}Encoding") or "").strip(),
        width=int(number("Resolution/Width")),
        height=int(number("Resolution/Height")),
        frames_per_s=number("RateControl/FrameRateLimit"),
    )
