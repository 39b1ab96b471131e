"""ONVIF answers as they are met: holes, odd values, services that are elsewhere or nowhere, log-ins of every kind. One row each.

The simulated camera answers rightly; a proxy before it puts another answer in the place of one of them.

One file, though long: it is a table of answers.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import time
from collections.abc import Callable, Mapping

import pytest

from drivers.cameras.onvif import soap
from drivers.cameras.onvif.device import ANSWER_S, DEADLINE_S, Resolved, resolve
from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Refused, Unavailable
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.support.answer_proxy import (
    Rewriting,
    answer_proxy,
    edited,
    fault,
    instead,
    question_of,
)
from tests.support.raw_http import Answer, header_of, raw_http

SUB = StreamSettings(codec="h264", width=352, height=288, fps=10, gop=10, b_frames=0)

NOTHING = instead()
HTML = instead(b"<html><body>log in</body></html>", kind="text/html")
GONE = instead(b"<h1>404</h1>", "404 Not Found", "text/html")
UNKNOWN = fault("Receiver", "ActionNotSupported", status="500 Internal Server Error")


def answered(name: str, inside: str = "", prefix: str = "trt") -> Rewriting:
    """An answer of this form, well-formed and with nothing more than this in it."""
    namespaces = {
        "tds": "http://www.onvif.org/ver10/device/wsdl",
        "trt": "http://www.onvif.org/ver10/media/wsdl",
        "tr2": "http://www.onvif.org/ver20/media/wsdl",
        "tt": "http://www.onvif.org/ver10/schema",
        "e": "http://www.w3.org/2003/05/soap-envelope",
    }
    declared = " ".join(f'xmlns:{key}="{value}"' for key, value in namespaces.items())
    return instead(
        f"<e:Envelope {declared}><e:Body><{prefix}:{name}>{inside}</{prefix}:{name}></e:Body></e:Envelope>".encode()
    )


def service(namespace: str, url: str = "") -> str:
    """A service as GetServices names it."""
    where = f"<tds:XAddr>{url}</tds:XAddr>" if url else ""
    return (
        f"<tds:Service><tds:Namespace>http://www.onvif.org/{namespace}</tds:Namespace>{where}</tds:Service>"
    )


def services(namespace: str, url: str = "") -> Rewriting:
    """An answer to GetServices that names this one."""
    return answered("GetServicesResponse", service(namespace, url), "tds")


def media1(rewriting: Rewriting) -> Rewriting:
    return lambda request, answer: rewriting(request, answer) if b"ver10/media" in request else answer


def media2(rewriting: Rewriting) -> Rewriting:
    return lambda request, answer: rewriting(request, answer) if b"ver20/media" in request else answer


async def asked(
    rewriting: Mapping[str, Rewriting],
    *,
    second: bool = True,
    sub: bool = True,
    password: str | None = None,
    moved: Mapping[str, str] | None = None,
) -> Resolved:
    camera = SimulatedCamera(name="cam", width=640, height=480, sub=SUB if sub else None, media2=second)
    async with camera, answer_proxy(camera, rewriting, moved) as proxy:
        return await resolve(
            OnvifAddress(
                host="127.0.0.1",
                port=proxy.port,
                username=camera.username,
                password=camera.password if password is None else password,
            )
        )


# ------------------------------------------------------------------ what is not needed

DATE = "GetSystemDateAndTime"
UTC_DATE = r"<tt:UTCDateTime>.*</tt:UTCDateTime>"
OF_1979 = (
    "<tt:Time><tt:Hour>0</tt:Hour><tt:Minute>0</tt:Minute><tt:Second>50</tt:Second></tt:Time>"
    "<tt:Date><tt:Year>1979</tt:Year><tt:Month>11</tt:Month><tt:Day>30</tt:Day></tt:Date>"
)


@pytest.mark.parametrize(
    "rewrite",
    [
        edited(
            (UTC_DATE, ""),
            (r"<tt:TimeZone>.*</tt:TimeZone>", ""),
            (r"<tt:LocalDateTime>.*</tt:LocalDateTime>", f"<tt:LocalDateTime>{OF_1979}</tt:LocalDateTime>"),
        ),
        edited((r"<tt:Month>\d+</tt:Month>", "<tt:Month>0</tt:Month>")),
        edited((r"<tt:Month>\d+</tt:Month>", "<tt:Month>13</tt:Month>")),
        edited((r"<tt:Day>\d+</tt:Day>", "<tt:Day>0</tt:Day>")),
        edited((r"<tt:Day>\d+</tt:Day>", "<tt:Day>32</tt:Day>")),
        edited((r"<tt:Year>\d+</tt:Year>", "<tt:Year>0</tt:Year>")),
        edited((r"<tt:Year>\d+</tt:Year>", "<tt:Year>99999999999999999999</tt:Year>")),
        edited((r"<tt:Hour>\d+</tt:Hour>", "<tt:Hour>25</tt:Hour>")),
        edited((r"<tt:Hour>\d+</tt:Hour>", "<tt:Hour>-1</tt:Hour>")),
        edited((r"<tt:Minute>\d+</tt:Minute>", "<tt:Minute/>")),
        edited((r"<tt:Second>\d+</tt:Second>", "<tt:Second>soon</tt:Second>")),
        edited((r"<tt:Date>.*?</tt:Date>", "")),
        edited((UTC_DATE, "<tt:UTCDateTime/>")),
        edited((r"<tds:SystemDateAndTime>.*</tds:SystemDateAndTime>", "")),
        NOTHING,
        HTML,
        GONE,
        UNKNOWN,
        fault("Sender", "NotAuthorized"),
        instead(b"", "503 Busy"),
        lambda _, __: b"",
    ],
)
def test_a_clock_that_cannot_be_read_is_unknown_and_costs_nothing(rewrite: Rewriting) -> None:
    """Log-in tokens are made by our own clock then."""
    found = asyncio.run(asked({DATE: rewrite}))
    assert found.clock_offset_s is None
    assert found.profile == "H264 640x480"


@pytest.mark.parametrize(
    ("edit", "wrong_s"),
    [
        (("<tt:Second>\\d+</tt:Second>", "<tt:Second>60</tt:Second>"), 60),
        (("<tt:Hour>\\d+</tt:Hour>", "<tt:Hour>24</tt:Hour>"), 86400),
    ],
)
def test_the_ends_of_a_minute_and_a_day_are_times(edit: tuple[str, str], wrong_s: float) -> None:
    """A leap second and 24:00 are read; the tokens are made by that time, which the camera refuses here."""
    with pytest.raises(Refused) as refused:
        asyncio.run(asked({DATE: edited((UTC_DATE, f"<tt:UTCDateTime>{OF_1979}</tt:UTCDateTime>"), edit)}))
    assert "clock" not in refused.value.reason  # it was read


def test_tokens_are_made_in_the_cameras_own_year() -> None:
    """A camera that was never set lives in 1979, and lets in whoever does too."""
    created: list[str] = []

    def keep(request: bytes, answer: bytes) -> Answer:
        created.extend(each.decode() for each in re.findall(rb"Created>([^<]+)<", request))
        return answer

    with pytest.raises(Refused):
        asyncio.run(
            asked({DATE: edited((UTC_DATE, f"<tt:UTCDateTime>{OF_1979}</tt:UTCDateTime>")), "*": keep})
        )
    assert created
    assert all(each.startswith("1979-11-30T00:") for each in created)


ENCODER1 = r"<tt:VideoEncoderConfiguration.*?</tt:VideoEncoderConfiguration>"
RATE = r"<tt:FrameRateLimit>[^<]*</tt:FrameRateLimit>"


@pytest.mark.parametrize("second", [True, False], ids=["Media2", "Media"])
@pytest.mark.parametrize(
    "rate", ["", "<tt:FrameRateLimit/>", "0", "-5", "many", "nan", "inf", "25.0", " 25 ", "1e3"]
)
def test_a_rate_may_be_anything(second: bool, rate: str) -> None:
    """It only decides between equals."""
    text = rate if not rate or rate.startswith("<") else f"<tt:FrameRateLimit>{rate}</tt:FrameRateLimit>"
    found = asyncio.run(asked({"GetProfiles": edited((RATE, text))}, second=second))
    assert (found.profile, found.sub_url is not None) == ("H264 640x480", True)


@pytest.mark.parametrize("second", [True, False], ids=["Media2", "Media"])
@pytest.mark.parametrize(
    "hole",
    [
        (r"<tt:Resolution><tt:Width>352<.*?</tt:Resolution>", ""),
        (r"<tt:Resolution><tt:Width>352<.*?</tt:Resolution>", "<tt:Resolution/>"),
        ("<tt:Width>352</tt:Width>", ""),
        ("<tt:Width>352</tt:Width>", "<tt:Width/>"),
        ("<tt:Width>352</tt:Width>", "<tt:Width>wide</tt:Width>"),
        ("<tt:Width>352</tt:Width>", "<tt:Width>-352</tt:Width>"),
        ("<tt:Width>352</tt:Width>", "<tt:Width>99999999999</tt:Width>"),
        ("<tt:Height>288</tt:Height>", "<tt:Height>0</tt:Height>"),
        ('token="profile_sub"', ""),
        ('token="profile_sub"', 'token=""'),
    ],
)
def test_a_profile_with_a_hole_is_left_out(second: bool, hole: tuple[str, str]) -> None:
    """The others are used."""
    found = asyncio.run(asked({"GetProfiles": edited(hole)}, second=second))
    assert found.profile == "H264 640x480"
    assert found.sub_url is None


@pytest.mark.parametrize("second", [True, False], ids=["Media2", "Media"])
def test_the_only_profile_is_used_without_its_size_too(second: bool) -> None:
    """What it sends is seen when it comes."""
    edit = edited((r"<tt:Resolution>.*?</tt:Resolution>", ""))
    found = asyncio.run(asked({"GetProfiles": edit}, second=second, sub=False))
    assert found.profile == "H264 of a size it does not tell"
    assert found.stream_url.startswith("rtsp://127.0.0.1:")


@pytest.mark.parametrize("written", ["H264", "h264", "H.264", " H264 ", "H264+", "avc"])
def test_a_codec_is_known_however_it_is_written(written: str) -> None:
    """Of the ways in which it is seen."""
    edit = edited(("<tt:Encoding>H264</tt:Encoding>", f"<tt:Encoding>{written}</tt:Encoding>"))
    assert asyncio.run(asked({"GetProfiles": edit})).profile == "H264 640x480"


@pytest.mark.parametrize(
    "snapshot",
    [
        UNKNOWN,
        NOTHING,
        HTML,
        GONE,
        fault("Sender", "NotAuthorized"),
        answered("GetSnapshotUriResponse"),
        lambda _, __: b"",
    ],
)
def test_a_camera_without_snapshot_is_a_camera(snapshot: Rewriting) -> None:
    """However it says so."""
    found = asyncio.run(asked({"GetSnapshotUri": snapshot}))
    assert (found.snapshot_url, found.profile) == (None, "H264 640x480")


@pytest.mark.parametrize("url", ["rtsp://192.0.2.7/snap", "", "file:///etc/passwd", "snap.jpg"])
def test_what_is_no_web_address_is_no_snapshot(url: str) -> None:
    """Some name their stream."""
    found = asyncio.run(asked({"GetSnapshotUri": edited(("(Uri>)http://[^<]*<", rf"\g<1>{url}<"))}))
    assert found.snapshot_url is None


# ------------------------------------------------------------------ what is needed is named


NO_STREAM = "GetStreamUri for its profile H264 640x480: the answer names no address"


@pytest.mark.parametrize("second", [True, False], ids=["Media2", "Media"])
@pytest.mark.parametrize(
    ("rewriting", "told"),
    [
        (
            {"GetProfiles": answered("GetProfilesResponse")},
            "GetProfiles: the answer names no media profile: set one up",
        ),
        ({"GetProfiles": NOTHING}, "GetProfiles: it answers with nothing"),
        ({"GetProfiles": HTML}, "GetProfiles: it answers with text/html that is no SOAP"),
        ({"GetProfiles": GONE}, "GetProfiles: it answers 404"),
        (
            {"GetProfiles": fault("Receiver", "Action", "Out &amp; of memory")},
            r"GetProfiles: .* a fault \(Action, Out & of memory\)",
        ),
        (
            {"GetProfiles": edited((r"<tt:Encoding>[^<]*<", "<tt:Encoding>JPEG<"))},
            r"profile \(found: JPEG 640x480, JPEG 352x288\)",
        ),
        (
            {"GetProfiles": edited((r"<(tt:VideoEncoderConfiguration|tr2:VideoEncoder) .*?</\1>", ""))},
            r"profile \(found: no video, no video\)",
        ),
        ({"GetStreamUri": answered("GetStreamUriResponse")}, NO_STREAM),
        (
            {"GetStreamUri": answered("GetStreamUriResponse", "<trt:MediaUri><tt:Uri/></trt:MediaUri>")},
            NO_STREAM,
        ),
        ({"GetStreamUri": UNKNOWN}, "GetStreamUri for its profile H264 640x480: it answers with a fault"),
        (
            {"GetStreamUri": edited(("(Uri>)rtsp://", r"\g<1>http://"))},
            r"names http://127\.0\.0\.1:\d+/\w+ as .* its stream, where rtsp://… was",
        ),
        (
            {"GetStreamUri": edited(("(Uri>)rtsp://[^<]*", r"\g<1>file:///etc/passwd"))},
            r"names file:///etc/passwd as the address of its stream",
        ),
        (
            {"GetStreamUri": edited(("(Uri>)rtsp://[^<]*", r"\g<1>concat:a|b"))},
            r"names concat:a\|b as the address of its stream",
        ),
        ({"*": HTML}, "it answers with text/html that is no SOAP"),
        ({"*": lambda _, __: b"\0\1\2\3"}, "its answer is no HTTP"),
        ({"*": lambda _, __: b""}, "it closes the connection without an answer"),
        (
            {"*": instead(b"", "302 Found", head="Location: http://192.0.2.9/onvif\r\n")},
            "it redirects to http://192.0.2.9/onvif, another place",
        ),
    ],
)
def test_what_is_needed_and_missing_is_named(
    second: bool, rewriting: dict[str, Rewriting], told: str
) -> None:
    """In words that an installer understands, and never by the name of an error's class."""
    with pytest.raises(Unavailable, match=told) as failed:
        asyncio.run(asked(rewriting, second=second))
    assert failed.value.reason.startswith("ONVIF at 127.0.0.1:")
    assert not re.search(r"unexpected|\w+(Error|Exception|Fault)\b", failed.value.reason)


def test_a_profile_without_address_gives_way_to_the_next() -> None:
    """The largest names none: the smaller one is better than nothing."""

    def only_sub(request: bytes, answer: bytes) -> Answer:
        return answer if b"profile_sub" in request else answered("GetStreamUriResponse")(request, answer)

    found = asyncio.run(asked({"GetStreamUri": only_sub}))
    assert found.profile == "H264 352x288"


# ------------------------------------------------------------------ services that are elsewhere

UNUSABLE = {
    "404": GONE,
    "200 text/html": HTML,
    "200 empty": NOTHING,
    "200 half": lambda _, answer: answer.replace(b"</env:Envelope>", b"")[: len(answer) * 2 // 3],
    "204": instead(b"", "204 No Content"),
    "400 not supported": fault("Sender", "ActionNotSupported"),
    "400 not authorized": fault("Sender", "NotAuthorized"),
    "500 of another code": fault("Receiver", "NoSuchService", status="500 Internal Server Error"),
    "500 empty": instead(b"", "500 Internal Server Error"),
    "405": instead(b"", "405 Method Not Allowed"),
    "no services": answered("GetServicesResponse", prefix="tds"),
    "services of others only": services("ver20/ptz/wsdl", "http://h/ptz"),
    "services without address": services("ver10/media/wsdl"),
    "services at no web address": services("ver10/media/wsdl", "file:///x"),
    "services where none is": services("ver10/media/wsdl", "http://192.0.2.7/nowhere"),
    "garbage": lambda _, __: b"\xff\xfe\x00garbage",
    "closed": lambda _, __: b"",
    "redirect to another": instead(
        b"", "307 Temporary Redirect", head="Location: http://192.0.2.9/onvif\r\n"
    ),
    "redirect in a circle": instead(b"", "302 Found", head="Location: /onvif/device_service\r\n"),
}


UNUSUAL = {"/onvif/media_service": "/Media/First", "/onvif/media2_service": "/cgi-bin/m2.fcgi"}
"""Where nobody would look for them who was not told."""


def not_by_device(request: bytes, answer: bytes) -> Answer:
    """The device service answers no question to a media service."""
    return UNKNOWN(request, answer) if b"/onvif/device_service" in request.split(b"\r\n")[0] else answer


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("road", ["GetCapabilities", "where it usually is"])
def test_each_unusable_answer_has_its_next_road(name: str, road: str) -> None:
    """GetServices, GetCapabilities, then where the media service usually is."""
    rewriting = {"GetServices": UNUSABLE[name]}
    if road == "GetCapabilities":
        found = asyncio.run(asked({**rewriting, "GetProfiles": not_by_device}, moved=UNUSUAL))
    else:
        found = asyncio.run(asked({**rewriting, "GetCapabilities": UNUSABLE[name]}))
    assert found.profile == "H264 640x480"


def test_services_are_asked_where_they_are_named() -> None:
    """Also where that is nowhere usual; where nobody names them, they are not found."""
    assert asyncio.run(asked({"GetProfiles": not_by_device}, moved=UNUSUAL)).profile == "H264 640x480"
    nowhere = {"GetServices": HTML, "GetCapabilities": HTML, "GetProfiles": not_by_device}
    with pytest.raises(Unavailable, match="it answers 404"):
        asyncio.run(asked(nowhere, moved=UNUSUAL))


@pytest.mark.parametrize("question", ["GetServices", "GetCapabilities", DATE])
def test_an_answer_that_never_comes_has_its_next_road_too(question: str) -> None:
    """Within its share of the time."""

    async def hang(_: bytes) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> Resolved:
        camera = SimulatedCamera(name="cam", width=640, height=480)
        async with camera:
            port = camera.onvif_port

            async def answer(request: bytes) -> Answer:
                if question_of(request) in (question, "GetServices" if question == "GetCapabilities" else ""):
                    return await hang(request)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                given = await reader.read(-1)
                writer.close()
                return given

            async with raw_http(answer) as server:
                return await resolve(
                    OnvifAddress(
                        host="127.0.0.1", port=server.port, username="admin", password=camera.password
                    )
                )

    began = time.monotonic()
    assert asyncio.run(run()).profile == "H264 640x480"
    assert time.monotonic() - began < DEADLINE_S
    assert ANSWER_S * 4 <= DEADLINE_S


def test_media2_alone_is_enough() -> None:
    """A camera of today need not have the first media service."""
    found = asyncio.run(
        asked(
            {
                "GetServices": edited(
                    (r"<tds:Service><tds:Namespace>[^<]*ver10/media/.*?</tds:Service>", "")
                ),
                "GetCapabilities": UNKNOWN,
                "GetProfiles": media1(UNKNOWN),
                "GetStreamUri": media1(UNKNOWN),
                "GetSnapshotUri": media1(UNKNOWN),
            }
        )
    )
    assert (found.profile, found.snapshot_url is not None) == ("H264 640x480", True)


@pytest.mark.parametrize(
    "broken", [HTML, NOTHING, GONE, UNKNOWN, answered("GetProfilesResponse", prefix="tr2")]
)
def test_a_broken_media2_leaves_the_first(broken: Rewriting) -> None:
    """And the other way round."""
    for only in (media2, media1):
        names = ("GetProfiles", "GetStreamUri", "GetSnapshotUri")
        assert asyncio.run(asked({name: only(broken) for name in names})).profile == "H264 640x480"


LOOSE_XML: dict[str, Callable[[bytes], bytes]] = {
    "SOAP 1.1": lambda body: body.replace(
        b"http://www.w3.org/2003/05/soap-envelope", b"http://schemas.xmlsoap.org/soap/envelope/"
    ),
    "other prefixes": lambda body: body.replace(b"env:", b"SOAP-ENV:").replace(
        b"xmlns:env", b"xmlns:SOAP-ENV"
    ),
    "blanks and zeros around": lambda body: b"\r\n  " + body + b"\r\n\0\0",
    "behind its end": lambda body: body + b"<!-- 0.01 s -->garbage",
    "a mark before": lambda body: b"\xef\xbb\xbf" + body,
    "a name that is not escaped": lambda body: body.replace(b"</tt:Name>", b" & gate</tt:Name>", 1),
    "another encoding": lambda body: body.replace(b'"UTF-8"', b'"GB2312"'),
    "no declaration": lambda body: body.partition(b"?>")[2],
}


@pytest.mark.parametrize("name", LOOSE_XML)
def test_answers_are_read_however_they_are_written(name: str) -> None:
    """By the names of their elements."""

    def rewrite(_: bytes, answer: bytes) -> Answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0] or not body:
            return answer
        return instead(LOOSE_XML[name](body))(b"", b"")

    assert asyncio.run(asked({"*": rewrite})).profile == "H264 640x480"


def test_a_camera_that_knows_soap_1_1_only_is_asked_in_that() -> None:
    """Once it has said so."""

    def old(request: bytes, answer: bytes) -> Answer:
        if b"2003/05/soap-envelope" in request:
            return fault("VersionMismatch", "x", status="500 Internal Server Error")(request, answer)
        assert header_of(request, "soapaction")
        name = question_of(request)
        return answered(
            f"{name}Response",
            {
                "GetServices": service("ver10/media/wsdl", "http://h/m"),
                "GetProfiles": (
                    '<trt:Profiles token="a"><tt:VideoEncoderConfiguration><tt:Encoding>H264</tt:Encoding>'
                    "</tt:VideoEncoderConfiguration></trt:Profiles>"
                ),
                "GetStreamUri": "<trt:MediaUri><tt:Uri>rtsp://h:554/s</tt:Uri></trt:MediaUri>",
            }.get(name, ""),
        )(request, answer)

    assert asyncio.run(asked({"*": old})).stream_url == "rtsp://127.0.0.1:554/s"


# ------------------------------------------------------------------ log-ins


def digested(wanted: str, *, algorithm: str = "MD5", everywhere: bool = True) -> Rewriting:
    """HTTP digest on every service, whatever the security header says; what is right by then is passed on."""

    def rewrite(request: bytes, answer: bytes) -> Answer:
        given = header_of(request, "authorization")
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', given))
        h = hashlib.sha256 if algorithm.startswith("SHA") else hashlib.md5
        account = h(f"admin:x:{wanted}".encode()).hexdigest()
        asked_for = h(f"POST:{fields.get('uri')}".encode()).hexdigest()
        middle = f"n1:{fields.get('nc')}:{fields.get('cnonce')}:auth"
        if fields.get("response") == h(f"{account}:{middle}:{asked_for}".encode()).hexdigest():
            return answer
        head = f'WWW-Authenticate: Digest realm="x", nonce="n1", qop="auth", algorithm={algorithm}\r\n'
        return instead(b"", "401 Unauthorized", head=head)(b"", b"")

    return rewrite


@pytest.mark.parametrize("algorithm", ["MD5", "md5", "SHA-256"])
def test_digest_is_answered_on_every_service(algorithm: str) -> None:
    """The device service included, and the clock."""
    found = asyncio.run(asked({"*": digested("camera-password", algorithm=algorithm)}))
    assert found.profile == "H264 640x480"
    assert found.clock_offset_s is not None


def test_a_password_refused_by_http_was_tried_once() -> None:
    """No other road is taken with it: cameras lock accounts."""
    tries: list[str] = []
    refusing = digested("another")

    def counted(request: bytes, answer: bytes) -> Answer:
        if header_of(request, "authorization"):
            tries.append(question_of(request))
        return refusing(request, answer)

    with pytest.raises(Refused, match="refuses user name or password: correct them in the site file"):
        asyncio.run(asked({"*": counted}))
    assert len(tries) == 1


@pytest.mark.parametrize(
    "code", ["NotAuthorized", "FailedAuthentication", "OperationProhibited/NotAuthorized"]
)
def test_a_password_refused_by_a_fault_was_tried_once(code: str) -> None:
    """Whatever the fault is called."""
    tries: list[str] = []

    def refusing(request: bytes, answer: bytes) -> Answer:
        if b"UsernameToken" in request:
            tries.append(question_of(request))
            return fault("Sender", code)(request, answer)
        return answer

    with pytest.raises(Refused) as refused:
        asyncio.run(asked({"*": refusing}))
    assert refused.value.reason.endswith("correct them in the site file")
    assert len(tries) == 1


def test_where_the_clock_is_unknown_a_refusal_says_so() -> None:
    """The password may be right."""
    with pytest.raises(Refused, match="or set the camera's clock"):
        asyncio.run(asked({DATE: GONE, "GetProfiles": fault("Sender", "NotAuthorized")}))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("WWW-Authenticate: Negotiate\r\n", "asks for Negotiate"),
        ("WWW-Authenticate: Digest realm=x, nonce=y, algorithm=SHA3\r\n", "asks for Digest SHA3"),
    ],
)
def test_a_log_in_that_nobody_can_give_is_no_refusal(head: str, told: str) -> None:
    """No password was tried, so no account is in danger."""
    with pytest.raises(Unavailable, match=told) as failed:
        asyncio.run(asked({"*": instead(b"", "401 Unauthorized", head=head)}))
    assert "refuses user name" not in failed.value.reason


def test_without_a_user_name_it_says_that_one_is_wanted() -> None:
    """And does not call it wrong."""

    async def run() -> None:
        async with SimulatedCamera(name="cam") as camera:
            with pytest.raises(
                Unavailable, match="asks for a user name and password: the site file gives none"
            ):
                await resolve(OnvifAddress(host="127.0.0.1", port=camera.onvif_port))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("admin", "(*&!*)%&^~^@##%"),
        ("admin", "/abc"),
        ("admin", "a:b"),
        ("admin", "p%40ss"),
        ("admin", "密码" * 20),
        ("admin", "".join(chr(c) for c in range(33, 127))),
        ("管理员", "<&>\"'"),
        ("a&b", " blanks "),
    ],
)
def test_any_credentials_are_right_in_a_token(username: str, password: str) -> None:
    """Of any length, in any alphabet."""

    async def run() -> None:
        async with SimulatedCamera(name="cam", username=username, password=password) as camera:
            address = OnvifAddress(
                host="127.0.0.1", port=camera.onvif_port, username=username, password=password
            )
            assert (await resolve(address)).profile == "H264 640x360"

    asyncio.run(run())


# ------------------------------------------------------------------ one that means harm


NAMED = [f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9)]
ENTITIES = f"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>{''.join(NAMED)}]>{{}}".format
BODY = "<e:Envelope xmlns:e='x'><e:Body>{}</e:Body></e:Envelope>".format
FILE = "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>{}".format
WORDS = "<e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code><e:Reason><e:Text>{}</e:Text></e:Reason></e:Fault>".format


@pytest.mark.parametrize(
    "answer",
    [
        instead(gzip.compress(b"<a>" * (50 << 20), 9), head="Content-Encoding: gzip\r\n"),
        instead(b"<e:Envelope xmlns:e='x'><e:Body>" + b"<a/>" * 500_000),
        instead(b"<e:Envelope xmlns:e='x'><e:Body>" + b"<a>" * 300_000),
        instead(ENTITIES(BODY("<b>&j;</b>")).encode()),
        instead(FILE(BODY(WORDS("look: &a;"))).encode()),
        lambda _, __: [b"HTTP/1.1 200 OK\r\n\r\n"] + [b"<a/>" * 1024] * 4096,
        lambda _, __: (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] + [b"1\r\n<\r\n" * 1000] * 2000
        ),
    ],
    ids=["a bomb", "a million elements", "deep", "entities", "a file of ours", "endless", "tiny chunks"],
)
def test_a_hostile_camera_does_not_delay_a_good_one(answer: Rewriting) -> None:
    """They are asked in one process: the good one is done as soon as without the other, and the bad one ends within its time."""

    async def run() -> None:
        async with SimulatedCamera(name="cam") as camera, answer_proxy(camera, {"*": answer}) as proxy:
            good = OnvifAddress(
                host="127.0.0.1", port=camera.onvif_port, username="admin", password=camera.password
            )
            bad = OnvifAddress(host="127.0.0.1", port=proxy.port, username="admin", password=camera.password)
            began = time.monotonic()
            await resolve(good)
            quiet_s = time.monotonic() - began
            began = time.monotonic()
            hostile = asyncio.create_task(resolve(bad))
            assert (await resolve(good)).profile == "H264 640x360"
            took_s = time.monotonic() - began
            with pytest.raises(Unavailable) as failed:
                await hostile
            assert "root:" not in failed.value.reason
            print(f"{took_s:.2f} s beside it, {quiet_s:.2f} s without")
            assert took_s < 3 * quiet_s + 1.5  # it takes a share of the loop, and the cores are shared
            assert time.monotonic() - began < DEADLINE_S + 3

    asyncio.run(run())


@pytest.mark.parametrize("piece", [b"<a/>", b"<a><b/></a>", b"<a></a>"])
def test_an_answer_of_more_elements_than_any_camera_sends_is_not_parsed(piece: bytes) -> None:
    """Within its bytes too: what is parsed costs some hundred bytes an element, and its turn of the loop."""
    envelope = b"<e:Envelope xmlns:e='x'><e:Body><answer>%s</answer></e:Body></e:Envelope>"
    most = (soap.MOST_TAGS - envelope.count(b"<")) // piece.count(b"<")
    assert len(soap.answer(envelope % (piece * most))) == most
    with pytest.raises(soap.Unreadable):
        soap.answer(envelope % (piece * (most + 1)))


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("question", ["*", "GetProfiles", "GetStreamUri"])
def test_nobody_else_is_asked_for_a_redirect(status: str, question: str) -> None:
    """The security token goes to the host of the site file, or nowhere."""

    async def run() -> None:
        async with raw_http(lambda _: b"", host="127.0.0.2") as other:
            elsewhere = instead(b"", status, head=f"Location: http://127.0.0.2:{other.port}/onvif\r\n")
            with pytest.raises(Unavailable, match="another place than the site file names"):
                await asked({question: elsewhere})
            assert other.connections == 0

    asyncio.run(run())


def test_services_and_pictures_named_elsewhere_are_asked_at_our_host() -> None:
    """An address of another host in an answer is only a path and a port."""

    async def run() -> None:
        async with raw_http(lambda _: b"", host="127.0.0.2") as other:
            there = edited((r"http://127\.0\.0\.1:\d+", f"http://127.0.0.2:{other.port}"))
            streams = edited((r"rtsp://127\.0\.0\.1:\d+", f"rtsp://127.0.0.2:{other.port}"))
            found = await asked({"GetServices": there, "GetCapabilities": there, "GetStreamUri": streams})
            assert found.stream_url.startswith(f"rtsp://127.0.0.1:{other.port}/")
            assert other.connections == 0

    asyncio.run(run())
