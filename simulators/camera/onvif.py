"""ONVIF device and media service (version 10) as text in, text out.

Source of the shapes: the ONVIF device, media and schema definitions, SOAP 1.2, and WS-Security UsernameToken Profile
1.0. What the ONVIF Core Specification puts in the access class PRE_AUTH is answered without log-in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import StreamDescription

DEVICE_PATH = "/onvif/device_service"
MEDIA_PATH = "/onvif/media_service"
SNAPSHOT_PATH = "/snapshot.jpg"

PROFILE_TOKEN = "profile_main"

_ENVELOPE = "http://www.w3.org/2003/05/soap-envelope"
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_ERRORS = "http://www.onvif.org/ver10/error"
_SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_DIGEST_TYPE = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
)

# Real cameras differ (seconds to minutes); a strict one finds every client that does not correct for the skew.
_TOKEN_WINDOW_S = 5.0
_PRE_AUTH = {
    (_DEVICE, name) for name in ("GetSystemDateAndTime", "GetCapabilities", "GetServices", "GetHostname")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """HTTP status and body; 401 has no body and asks for HTTP digest."""

    status: int
    body: bytes = b""


class _Refused(Exception):
    """Becomes a SOAP fault."""

    def __init__(self, code: str, subcodes: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.code, self.subcodes, self.reason, self.status = code, subcodes.split("/"), reason, status


class OnvifService:
    """Answers the requests of one camera."""

    def __init__(
        self,
        *,
        name: str,
        username: str,
        password: str,
        description: StreamDescription,
        rtsp_port: Callable[[], int],
        http_port: Callable[[], int],
        faults: Callable[[], CameraFaults],
        stream_path: str,
    ) -> None:
        self._name = name
        self._username, self._password = username, password
        self._about = description
        self._rtsp_port, self._http_port = rtsp_port, http_port
        self._faults = faults
        self._stream_path = stream_path
        # Nonces of the tokens inside the window, each with the camera time at which it may be forgotten.
        self._nonces: dict[bytes, float] = {}
        self._operations: dict[tuple[str, str], Callable[[ElementTree.Element, str], str]] = {
            (_DEVICE, "GetSystemDateAndTime"): self._date_and_time,
            (_DEVICE, "GetDeviceInformation"): self._device_information,
            (_DEVICE, "GetCapabilities"): self._capabilities,
            (_DEVICE, "GetServices"): self._services,
            (_DEVICE, "GetServiceCapabilities"): self._device_capabilities,
            (_DEVICE, "GetScopes"): self._scopes,
            (_DEVICE, "GetHostname"): self._hostname,
            (_DEVICE, "GetNetworkInterfaces"): self._network_interfaces,
            (_MEDIA, "GetServiceCapabilities"): self._media_capabilities,
            (_MEDIA, "GetProfiles"): self._profiles,
            (_MEDIA, "GetProfile"): self._one_profile,
            (_MEDIA, "GetVideoSources"): self._video_sources,
            (_MEDIA, "GetStreamUri"): self._stream_uri,
            (_MEDIA, "GetSnapshotUri"): self._snapshot_uri,
        }

    def answer(self, body: bytes, *, host: str, logged_in: bool) -> Answer:
        """Answer one SOAP request; `host` is the request's Host header, `logged_in` what HTTP digest said."""
        try:
            operation, header = _read_envelope(body)
            namespace, _, name = operation.tag.removeprefix("{").partition("}")
            if (namespace, name) not in _PRE_AUTH and not logged_in:
                token = header.find(f"{{{_SECURITY}}}Security/{{{_SECURITY}}}UsernameToken")
                if token is None:
                    return Answer(status=401)
                self._check_token(token)
            perform = self._operations.get((namespace, name))
            if perform is None:
                raise _Refused(
                    "Receiver", "ActionNotSupported", f"{name} of {namespace} is not implemented", 500
                )
            inside = perform(operation, host.rsplit(":", 1)[0])
        except _Refused as refused:
            return Answer(status=refused.status, body=_envelope(_fault(refused)))
        prefix = "tds" if namespace == _DEVICE else "trt"
        return Answer(
            status=200, body=_envelope(f"<{prefix}:{name}Response>{inside}</{prefix}:{name}Response>")
        )

    def _now_s(self) -> float:
        """The camera's own clock."""
        return time.time() + self._faults().clock_skew_s

    def _check_token(self, token: ElementTree.Element) -> None:
        refused = _Refused("Sender", "NotAuthorized", "Sender not authorized")
        password = token.find(f"{{{_SECURITY}}}Password")
        created_text = token.findtext(f"{{{_UTILITY}}}Created", "").strip()
        if password is None or password.get("Type") != _DIGEST_TYPE or self._faults().reject_login:
            raise refused
        try:
            nonce = base64.b64decode(token.findtext(f"{{{_SECURITY}}}Nonce", "").strip(), validate=True)
            created = datetime.fromisoformat(created_text)
        except (binascii.Error, ValueError) as error:
            raise refused from error
        if created.tzinfo is None:
            created = created.replace(tzinfo=UTC)
        now_s = self._now_s()
        self._nonces = {known: until for known, until in self._nonces.items() if until > now_s}
        digest = hashlib.sha1(nonce + created_text.encode() + self._password.encode(), usedforsecurity=False)
        if (
            token.findtext(f"{{{_SECURITY}}}Username", "") != self._username
            or abs(created.timestamp() - now_s) > _TOKEN_WINDOW_S
            or nonce in self._nonces
            or not hmac.compare_digest(
                base64.b64encode(digest.digest()), (password.text or "").strip().encode()
            )
        ):
            raise refused
        self._nonces[nonce] = now_s + 2 * _TOKEN_WINDOW_S

    def _uri(self, scheme: str, host: str, port: int, path: str) -> str:
        faults = self._faults()
        return escape(f"{scheme}://{faults.wrong_host or host}:{faults.wrong_port or port}{path}")

    def _date_and_time(self, _: ElementTree.Element, __: str) -> str:
        now = datetime.fromtimestamp(self._now_s(), UTC)
        moment = (
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time>"
            f"<tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day></tt:Date>"
        )
        return (
            "<tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone>"
            f"<tt:UTCDateTime>{moment}</tt:UTCDateTime><tt:LocalDateTime>{moment}</tt:LocalDateTime>"
            "</tds:SystemDateAndTime>"
        )

    def _device_information(self, _: ElementTree.Element, __: str) -> str:
        return (
            "<tds:Manufacturer>Campus simulators</tds:Manufacturer><tds:Model>Clock camera</tds:Model>"
            "<tds:FirmwareVersion>1</tds:FirmwareVersion>"
            f"<tds:SerialNumber>{escape(self._name)}</tds:SerialNumber><tds:HardwareId>simulated</tds:HardwareId>"
        )

    def _capabilities(self, _: ElementTree.Element, host: str) -> str:
        device = self._uri("http", host, self._http_port(), DEVICE_PATH)
        media = self._uri("http", host, self._http_port(), MEDIA_PATH)
        return (
            f"<tds:Capabilities><tt:Device><tt:XAddr>{device}</tt:XAddr></tt:Device>"
            f"<tt:Media><tt:XAddr>{media}</tt:XAddr><tt:StreamingCapabilities>"
            "<tt:RTPMulticast>false</tt:RTPMulticast><tt:RTP_TCP>false</tt:RTP_TCP>"
            "<tt:RTP_RTSP_TCP>true</tt:RTP_RTSP_TCP></tt:StreamingCapabilities></tt:Media></tds:Capabilities>"
        )

    def _services(self, _: ElementTree.Element, host: str) -> str:
        return "".join(
            f"<tds:Service><tds:Namespace>{namespace}</tds:Namespace>"
            f"<tds:XAddr>{self._uri('http', host, self._http_port(), path)}</tds:XAddr>"
            "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
            for namespace, path in ((_DEVICE, DEVICE_PATH), (_MEDIA, MEDIA_PATH))
        )

    def _device_capabilities(self, _: ElementTree.Element, __: str) -> str:
        return (
            '<tds:Capabilities><tds:Network/><tds:Security UsernameToken="true" HttpDigest="true"/>'
            "<tds:System/></tds:Capabilities>"
        )

    def _media_capabilities(self, _: ElementTree.Element, __: str) -> str:
        return (
            '<trt:Capabilities SnapshotUri="true"><trt:ProfileCapabilities MaximumNumberOfProfiles="1"/>'
            '<trt:StreamingCapabilities RTPMulticast="false" RTP_TCP="false" RTP_RTSP_TCP="true"/></trt:Capabilities>'
        )

    def _scopes(self, _: ElementTree.Element, __: str) -> str:
        items = ("Profile/Streaming", "type/video_encoder", f"name/{escape(self._name.replace(' ', '_'))}")
        return "".join(
            "<tds:Scopes><tt:ScopeDef>Fixed</tt:ScopeDef>"
            f"<tt:ScopeItem>onvif://www.onvif.org/{item}</tt:ScopeItem></tds:Scopes>"
            for item in items
        )

    def _hostname(self, _: ElementTree.Element, __: str) -> str:
        return (
            "<tds:HostnameInformation><tt:FromDHCP>false</tt:FromDHCP>"
            f"<tt:Name>{escape(self._name)}</tt:Name></tds:HostnameInformation>"
        )

    def _network_interfaces(self, _: ElementTree.Element, __: str) -> str:
        # A locally administered address made from the name, so that it stays the same.
        tail = hashlib.sha256(self._name.encode()).digest()[:5]
        address = ":".join(f"{byte:02x}" for byte in b"\x02" + tail)
        return (
            '<tds:NetworkInterfaces token="eth0"><tt:Enabled>true</tt:Enabled><tt:Info><tt:Name>eth0</tt:Name>'
            f"<tt:HwAddress>{address}</tt:HwAddress><tt:MTU>1500</tt:MTU></tt:Info></tds:NetworkInterfaces>"
        )

    def _profiles(self, _: ElementTree.Element, __: str) -> str:
        return self._profile("Profiles")

    def _one_profile(self, request: ElementTree.Element, _: str) -> str:
        _require_profile(request)
        return self._profile("Profile")

    def _profile(self, element: str) -> str:
        about = self._about
        profiles = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High"}
        return (
            f'<trt:{element} token="{PROFILE_TOKEN}" fixed="true"><tt:Name>main</tt:Name>'
            '<tt:VideoSourceConfiguration token="source_config"><tt:Name>source</tt:Name><tt:UseCount>1</tt:UseCount>'
            "<tt:SourceToken>source_1</tt:SourceToken>"
            f'<tt:Bounds x="0" y="0" width="{about.width}" height="{about.height}"/></tt:VideoSourceConfiguration>'
            '<tt:VideoEncoderConfiguration token="encoder_config"><tt:Name>encoder</tt:Name><tt:UseCount>1</tt:UseCount>'
            f"<tt:Encoding>H264</tt:Encoding><tt:Resolution><tt:Width>{about.width}</tt:Width>"
            f"<tt:Height>{about.height}</tt:Height></tt:Resolution><tt:Quality>5</tt:Quality>"
            f"<tt:RateControl><tt:FrameRateLimit>{about.fps}</tt:FrameRateLimit>"
            "<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>4096</tt:BitrateLimit></tt:RateControl>"
            f"<tt:H264><tt:GovLength>{about.gop}</tt:GovLength>"
            f"<tt:H264Profile>{profiles.get(about.sps[1], 'High')}</tt:H264Profile></tt:H264>"
            "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address></tt:Address>"
            "<tt:Port>0</tt:Port><tt:TTL>1</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>"
            f"<tt:SessionTimeout>PT60S</tt:SessionTimeout></tt:VideoEncoderConfiguration></trt:{element}>"
        )

    def _video_sources(self, _: ElementTree.Element, __: str) -> str:
        about = self._about
        return (
            f'<trt:VideoSources token="source_1"><tt:Framerate>{about.fps}</tt:Framerate><tt:Resolution>'
            f"<tt:Width>{about.width}</tt:Width><tt:Height>{about.height}</tt:Height></tt:Resolution></trt:VideoSources>"
        )

    def _stream_uri(self, request: ElementTree.Element, host: str) -> str:
        _require_profile(request)
        return _media_uri(self._uri("rtsp", host, self._rtsp_port(), self._stream_path))

    def _snapshot_uri(self, request: ElementTree.Element, host: str) -> str:
        _require_profile(request)
        return _media_uri(self._uri("http", host, self._http_port(), SNAPSHOT_PATH))


def _require_profile(request: ElementTree.Element) -> None:
    token = request.findtext(f"{{{_MEDIA}}}ProfileToken", "")
    if token != PROFILE_TOKEN:
        raise _Refused(
            "Sender", "InvalidArgVal/NoProfile", f"profile {token!r} does not exist, expected {PROFILE_TOKEN}"
        )


def _media_uri(uri: str) -> str:
    return (
        f"<trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
        "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    )


def _read_envelope(body: bytes) -> tuple[ElementTree.Element, ElementTree.Element]:
    """Return the operation's element and the header."""
    try:
        envelope = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise _Refused("Sender", "WellFormed", f"not well-formed XML: {error}") from error
    found = envelope.find(f"{{{_ENVELOPE}}}Body")
    if found is None or len(found) != 1:
        raise _Refused("Sender", "WellFormed", "expected a SOAP 1.2 envelope with one element in its body")
    header = envelope.find(f"{{{_ENVELOPE}}}Header")
    return found[0], ElementTree.Element("none") if header is None else header


def _fault(refused: _Refused) -> str:
    subcodes = ""
    for subcode in reversed(refused.subcodes):
        subcodes = f"<env:Subcode><env:Value>ter:{subcode}</env:Value>{subcodes}</env:Subcode>"
    return (
        f"<env:Fault><env:Code><env:Value>env:{refused.code}</env:Value>{subcodes}</env:Code>"
        f'<env:Reason><env:Text xml:lang="en">{escape(refused.reason)}</env:Text></env:Reason></env:Fault>'
    )


def _envelope(inside: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<env:Envelope xmlns:env="{_ENVELOPE}" xmlns:tds="{_DEVICE}" xmlns:trt="{_MEDIA}" xmlns:tt="{_SCHEMA}" '
        f'xmlns:ter="{_ERRORS}"><env:Body>{inside}</env:Body></env:Envelope>'
    ).encode()
