"""How the simulated camera's ONVIF service lets people in, and what it says."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import StreamDescription
from simulators.camera.onvif import OnvifService
from simulators.camera.onvif_media import OfferedProfile
from simulators.camera.soap import Answer

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA = "http://www.onvif.org/ver10/media/wsdl"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
DIGEST = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"


class Bench:
    """A service whose faults can be changed, and the requests to it."""

    def __init__(self, *, media2: bool = True) -> None:
        self.faults = CameraFaults()
        about = StreamDescription(width=640, height=360, fps=25, gop=25, sps=b"\x67\x42\xc0\x1e", pps=b"")
        self.service = OnvifService(
            name="gate & passage",
            username="admin",
            password="right",
            profiles=lambda: [OfferedProfile(token="profile_main", path="/live", about=about)],
            rtsp_port=lambda: 8554,
            http_port=lambda: 8081,
            faults=lambda: self.faults,
            media2=media2,
        )

    def ask(self, operation: str, *, header: str = "", logged_in: bool = False) -> Answer:
        body = (
            '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope">'
            f"<e:Header>{header}</e:Header><e:Body>{operation}</e:Body></e:Envelope>"
        )
        return self.service.answer(body.encode(), host="school.example:9000", logged_in=logged_in)


def token(
    *,
    password: str = "right",
    username: str = "admin",
    ahead_s: float = 0.0,
    nonce: bytes = b"n",
    kind: str = DIGEST,
) -> str:
    created = datetime.fromtimestamp(time.time() + ahead_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = base64.b64encode(hashlib.sha1(nonce + created.encode() + password.encode()).digest()).decode()
    return (
        f'<s:Security xmlns:s="{SECURITY}" xmlns:u="{UTILITY}"><s:UsernameToken><s:Username>{username}</s:Username>'
        f'<s:Password Type="{kind}">{digest}</s:Password><s:Nonce>{base64.b64encode(nonce).decode()}</s:Nonce>'
        f"<u:Created>{created}</u:Created></s:UsernameToken></s:Security>"
    )


INFORMATION = f'<d:GetDeviceInformation xmlns:d="{DEVICE}"/>'
DATE = f'<d:GetSystemDateAndTime xmlns:d="{DEVICE}"/>'


def uri_request(name: str, profile: str = "profile_main") -> str:
    return f'<m:{name} xmlns:m="{MEDIA}"><m:ProfileToken>{profile}</m:ProfileToken></m:{name}>'


def test_the_clock_is_told_to_everybody() -> None:
    """The time comes without log-in, even from a camera that lets nobody in."""
    bench = Bench()
    bench.faults = CameraFaults(reject_login=True)
    assert bench.ask(DATE).status == 200


def test_without_log_in_digest_is_asked_for() -> None:
    """A request without any log-in is answered 401, one with HTTP digest is let in."""
    bench = Bench()
    assert bench.ask(INFORMATION).status == 401
    assert bench.ask(INFORMATION, logged_in=True).status == 200


def test_a_token_is_good_once() -> None:
    """The same nonce a second time is a replay."""
    bench = Bench()
    header = token()
    assert bench.ask(INFORMATION, header=header).status == 200
    refused = bench.ask(INFORMATION, header=header)
    assert refused.status == 400
    assert b"ter:NotAuthorized" in refused.body


@pytest.mark.parametrize(
    "make",
    [
        lambda: token(password="wrong"),
        lambda: token(username="guest"),
        lambda: token(kind=DIGEST.replace("Digest", "Text")),
        lambda: token(ahead_s=8),
        lambda: token(ahead_s=-8),
        lambda: token().replace("<s:Nonce>", "<s:Nonce>*"),
        lambda: token().replace("<u:Created>", "<u:Created>soon"),
    ],
    ids=["password", "username", "plain text", "early", "late", "nonce", "created"],
)
def test_a_wrong_token_is_refused(make: Callable[[], str]) -> None:
    """Wrong password, name or type, a time outside the window and garbage are all the same refusal."""
    answer = Bench().ask(
        INFORMATION, header=make()
    )  # made now: made at collection it is old when its turn comes
    assert (answer.status, b"ter:NotAuthorized" in answer.body) == (400, True)


def test_the_window_is_that_of_the_cameras_own_clock() -> None:
    """A camera ahead by a minute refuses the world's time, takes its own, and tells it."""
    bench = Bench()
    bench.faults = CameraFaults(clock_skew_s=3600)
    assert bench.ask(INFORMATION, header=token(nonce=b"1")).status == 400
    assert bench.ask(INFORMATION, header=token(nonce=b"2", ahead_s=3600)).status == 200
    tree = ElementTree.fromstring(bench.ask(DATE).body)
    schema = "{http://www.onvif.org/ver10/schema}"
    utc = tree.find(f".//{schema}UTCDateTime")
    assert utc is not None
    numbers = {each.tag.removeprefix(schema).lower(): int(each.text or "") for part in utc for each in part}
    told = datetime(tzinfo=UTC, **numbers)  # type: ignore[arg-type]
    assert abs(told.timestamp() - time.time() - 3600) < 2


def test_addresses_are_those_the_client_used() -> None:
    """URIs name the host of the request and the camera's own ports."""
    bench = Bench()
    assert b"rtsp://school.example:8554/live<" in bench.ask(uri_request("GetStreamUri"), logged_in=True).body
    snapshot = bench.ask(uri_request("GetSnapshotUri"), logged_in=True).body
    assert b"http://school.example:8081/snapshot.jpg<" in snapshot


def test_a_camera_behind_nat_names_its_inner_address() -> None:
    """With the fault every URI names the wrong host and port."""
    bench = Bench()
    bench.faults = CameraFaults(wrong_host="192.168.1.64", wrong_port=5544)
    for operation in (
        uri_request("GetStreamUri"),
        uri_request("GetSnapshotUri"),
        f'<d:GetServices xmlns:d="{DEVICE}"/>',
        f'<d:GetCapabilities xmlns:d="{DEVICE}"/>',
    ):
        body = bench.ask(operation, logged_in=True).body
        assert b"//192.168.1.64:5544/" in body
        assert b"school.example" not in body


@pytest.mark.parametrize(
    ("body", "status", "subcode"),
    [
        (b"not xml", 400, b"ter:WellFormed"),
        (b"<a/>", 400, b"ter:WellFormed"),
    ],
)
def test_what_is_no_soap_is_a_fault(body: bytes, status: int, subcode: bytes) -> None:
    """Garbage is answered with the fault the specification has for it."""
    answer = Bench().service.answer(body, host="h", logged_in=True)
    assert (answer.status, subcode in answer.body) == (status, True)


def test_unknown_operations_and_profiles_are_faults() -> None:
    """What the camera does not know it says so."""
    bench = Bench()
    unknown = bench.ask(f'<d:Reboot xmlns:d="{DEVICE}"/>', logged_in=True)
    assert (unknown.status, b"ter:ActionNotSupported" in unknown.body) == (500, True)
    profile = bench.ask(uri_request("GetStreamUri", "other"), logged_in=True)
    assert (profile.status, b"ter:NoProfile" in profile.body) == (400, True)


MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"


def media2(name: str, inside: str = "") -> str:
    return f'<m:{name} xmlns:m="{MEDIA2}">{inside}</m:{name}>'


def test_media2_tells_what_it_is_asked_for() -> None:
    """Without a type there are tokens alone, with one its configuration, by a token that profile alone."""
    bench = Bench()
    plain = bench.ask(media2("GetProfiles"), logged_in=True).body
    assert (b'token="profile_main"' in plain, b"Configurations" in plain) == (True, False)
    source = bench.ask(media2("GetProfiles", "<m:Type>VideoSource</m:Type>"), logged_in=True).body
    assert (b"tr2:VideoSource" in source, b"tr2:VideoEncoder" in source) == (True, False)
    everything = bench.ask(media2("GetProfiles", "<m:Type>All</m:Type>"), logged_in=True).body
    assert b"<tt:Encoding>H264</tt:Encoding>" in everything
    assert b'GovLength="25"' in everything
    for operation, subcode in (
        (media2("GetProfiles", "<m:Token>other</m:Token>"), b"ter:NoProfile"),
        (media2("GetStreamUri", "<m:ProfileToken>other</m:ProfileToken>"), b"ter:NoProfile"),
        (
            media2("GetVideoEncoderConfigurations", "<m:ConfigurationToken>x</m:ConfigurationToken>"),
            b"ter:NoConfig",
        ),
    ):
        refused = bench.ask(operation, logged_in=True)
        assert (refused.status, subcode in refused.body) == (400, True)


@pytest.mark.parametrize(
    ("protocol", "status"), [("RTSP", 200), ("RtspUnicast", 200), ("RtspMulticast", 400), ("", 400)]
)
def test_media2_streams_by_what_is_served(protocol: str, status: int) -> None:
    """The stream's address is told for RTSP, and multicast is refused."""
    inside = f"<m:Protocol>{protocol}</m:Protocol><m:ProfileToken>profile_main</m:ProfileToken>"
    answer = Bench().ask(media2("GetStreamUri", inside), logged_in=True)
    assert answer.status == status
    assert (b"<tr2:Uri>rtsp://school.example:8554/live</tr2:Uri>" in answer.body) == (status == 200)


def test_an_older_camera_has_no_media2() -> None:
    """It is neither named nor answered."""
    bench = Bench(media2=False)
    assert (
        MEDIA2.encode() not in bench.ask(f'<d:GetServices xmlns:d="{DEVICE}"/>').body.split(b"<env:Body>")[1]
    )
    assert bench.ask(media2("GetProfiles"), logged_in=True).status == 500


def test_a_name_is_escaped() -> None:
    """A name with markup in it does not break the answer."""
    answer = Bench().ask(INFORMATION, logged_in=True)
    assert "gate & passage" in "".join(ElementTree.fromstring(answer.body).itertext())


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "JSON object"),
        ({"freez": True}, "freez"),
        ({"freeze": 1}, "freeze"),
        ({"clock_skew_s": True}, "clock_skew_s"),
        ({"cut_after_frames": -1}, "cut_after_frames"),
        ({"wrong_host": 5}, "wrong_host"),
    ],
)
def test_faults_are_read_strictly(document: object, named: str) -> None:
    """A misspelt fault must not leave the camera healthy in silence."""
    with pytest.raises(ValueError, match=named):
        CameraFaults.from_json(document)


def test_faults_there_and_back() -> None:
    """What the control endpoint shows can be posted to it."""
    faults = CameraFaults(freeze=True, clock_skew_s=1.5, cut_after_frames=3, wrong_host="h")
    assert CameraFaults.from_json(faults.as_json()) == faults
