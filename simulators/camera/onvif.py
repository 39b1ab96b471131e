"""ONVIF device and media services as text in, text out.

Source of the shapes: the ONVIF device and schema definitions. What the ONVIF Core Specification puts in the access class
PRE_AUTH is answered without log-in.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from simulators.camera.faults import CameraFaults
from simulators.camera.onvif_media import MediaService, OfferedProfile
from simulators.camera.soap import (
    DEVICE,
    MEDIA1,
    MEDIA2,
    PREFIXES,
    Answer,
    Operation,
    Refused,
    TokenGate,
    envelope,
    fault,
    read_envelope,
)

DEVICE_PATH = "/onvif/device_service"
MEDIA_PATH = "/onvif/media_service"
MEDIA2_PATH = "/onvif/media2_service"
SNAPSHOT_PATH = "/snapshot.jpg"

_PRE_AUTH = {
    (DEVICE, name) for name in ("GetSystemDateAndTime", "GetCapabilities", "GetServices", "GetHostname")
}


class OnvifService:
    """Answers the requests of one camera."""

    def __init__(
        self,
        *,
        name: str,
        username: str,
        password: str,
        profiles: Callable[[], Sequence[OfferedProfile]],
        rtsp_port: Callable[[], int],
        http_port: Callable[[], int],
        faults: Callable[[], CameraFaults],
        media2: bool = True,
        media1_h265: str = "h264",
    ) -> None:
        self._name = name
        self._tokens = TokenGate(username=username, password=password)
        self._rtsp_port, self._http_port = rtsp_port, http_port
        self._faults = faults
        media = MediaService(
            profiles=profiles,
            media1_h265=media1_h265,
            stream_uri=lambda path, host: self._uri("rtsp", host, self._rtsp_port(), path),
            snapshot_uri=lambda host: self._uri("http", host, self._http_port(), SNAPSHOT_PATH),
        )
        self._paths = {DEVICE: DEVICE_PATH, MEDIA1: MEDIA_PATH} | ({MEDIA2: MEDIA2_PATH} if media2 else {})
        self._operations: dict[str, dict[str, Operation]] = {
            DEVICE: {
                "GetSystemDateAndTime": self._date_and_time,
                "GetDeviceInformation": self._device_information,
                "GetCapabilities": self._capabilities,
                "GetServices": self._services,
                "GetServiceCapabilities": self._device_capabilities,
                "GetScopes": self._scopes,
                "GetHostname": self._hostname,
                "GetNetworkInterfaces": self._network_interfaces,
            },
            MEDIA1: media.media1(),
        }
        if media2:
            self._operations[MEDIA2] = media.media2()

    def answer(self, body: bytes, *, host: str, logged_in: bool) -> Answer:
        """Answer one SOAP request; `host` is the request's Host header, `logged_in` what HTTP digest said."""
        try:
            operation, header = read_envelope(body)
            namespace, _, name = operation.tag.removeprefix("{").partition("}")
            if (namespace, name) not in _PRE_AUTH and not logged_in:
                if not self._tokens.check(header, now_s=self._now_s()):
                    return Answer(status=401)
                if self._faults().reject_login:
                    raise Refused("Sender", "NotAuthorized", "Sender not authorized")
            perform = self._operations.get(namespace, {}).get(name)
            if perform is None:
                raise Refused(
                    "Receiver", "ActionNotSupported", f"{name} of {namespace} is not implemented", 500
                )
            inside = perform(operation, host.rsplit(":", 1)[0])
        except Refused as refused:
            return fault(refused)
        prefix = PREFIXES[namespace]
        return Answer(
            status=200, body=envelope(f"<{prefix}:{name}Response>{inside}</{prefix}:{name}Response>")
        )

    def _now_s(self) -> float:
        """The camera's own clock."""
        return time.time() + self._faults().clock_skew_s

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
            for namespace, path in self._paths.items()
        )

    def _device_capabilities(self, _: ElementTree.Element, __: str) -> str:
        return (
            '<tds:Capabilities><tds:Network/><tds:Security UsernameToken="true" HttpDigest="true"/>'
            "<tds:System/></tds:Capabilities>"
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
