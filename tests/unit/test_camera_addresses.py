"""Which profile is chosen, and how a camera's own addresses are turned into ones that can be reached."""

from __future__ import annotations

import pytest

from drivers.cameras.http.door import Place, redirected, stream_at, web_places
from drivers.cameras.onvif.profiles import Profile, choose, choose_sub
from drivers.cameras.spec import CameraSpec, OnvifAddress, StreamAddress
from drivers.cameras.worker.stream.opening import Address, scrub
from gateway.domain.errors import Unavailable


def profile(token: str, encoding: str, width: int, height: int, fps: float = 25) -> Profile:
    """A media profile."""
    return Profile(token=token, encoding=encoding, width=width, height=height, frames_per_s=fps)


def test_largest_h264_up_to_full_hd_is_chosen() -> None:
    """4K is passed over for 1080p, JPEG never taken, and more frames win between equals."""
    offered = [
        profile("jpeg", "JPEG", 1920, 1080),
        profile("4k", "H264", 3840, 2160),
        profile("slow", "H264", 1920, 1080, 12),
        profile("main", "H264", 1920, 1080, 25),
        profile("sub", "H264", 640, 360),
    ]
    assert choose(offered).token == "main"
    assert choose([offered[1], profile("5mp", "H264", 2592, 1944)]).token == "5mp"


@pytest.mark.parametrize(
    ("others", "found"),
    [
        ([], None),
        ([("twin", "H264", 1920, 1080)], None),
        ([("larger", "H264", 2592, 1944), ("jpeg", "JPEG", 640, 360)], None),
        ([("third", "H264", 1280, 720), ("sub", "H265", 640, 360), ("phone", "H264", 176, 144)], "sub"),
        ([("phone", "H264", 176, 144), ("phone-2", "H264", 320, 180)], "phone-2"),
    ],
)
def test_the_second_stream_is_the_smallest_that_still_shows_who(
    others: list[tuple[str, str, int, int]], found: str | None
) -> None:
    """Smaller than the main one, of a codec that can be recorded, and not below CIF where there is anything else."""
    main = profile("main", "H264", 1920, 1080)
    chosen = choose_sub([main, *(profile(*each) for each in others)], main)
    assert (chosen.token if chosen else None) == found


def test_lack_of_h264_names_what_there_is() -> None:
    """The technician reads what the camera offers and what was expected."""
    with pytest.raises(Unavailable, match=r"no H\.264 or H\.265 profile \(found: JPEG 640x480\)"):
        choose([profile("a", "JPEG", 640, 480)])
    with pytest.raises(Unavailable, match="none at all"):
        choose([])


@pytest.mark.parametrize(
    ("told", "reached"),
    [
        ("rtsp://192.168.1.10:554/s1?a=b", "rtsp://cam.example:554/s1?a=b"),
        ("rtsp://192.168.1.10/s1", "rtsp://cam.example/s1"),
        ("rtsp://u:p@10.0.0.1:8554/s1", "rtsp://cam.example:8554/s1"),
        ("rtsp://[fe80::1]:554/s1", "rtsp://cam.example:554/s1"),
    ],
)
def test_stream_keeps_its_port_and_loses_its_host(told: str, reached: str) -> None:
    """Behind NAT the host is ours; the RTSP port is the camera's word; credentials in it are dropped."""
    assert stream_at(told, "cam.example") == reached


@pytest.mark.parametrize(
    "named",
    [
        "http://192.168.1.10/live",
        "file:///etc/passwd",
        "concat:/etc/passwd|/etc/shadow",
        "tcp://10.0.0.1:22",
        "rtmp://10.0.0.1/s",
        "srt://10.0.0.1:9000",
        "/s1",
        "rtsp:///s1",
        "rtsp://[::1/s1",
        "rtsp://10.0.0.1:70000/s1",
        "",
        "\u0000",
        "rtsp://10.0.0.1/" + "x" * 3000,
    ],
)
def test_what_is_no_rtsp_address_is_never_opened(named: str) -> None:
    """It is refused in words, before any library sees it."""
    with pytest.raises(Unavailable, match="the camera names"):
        stream_at(named, "cam.example")


@pytest.mark.parametrize(
    ("named", "places"),
    [
        ("http://10.0.0.1/snap?x=1", ["http://[::1]/snap?x=1", "http://[::1]:8080/snap?x=1"]),
        ("http://10.0.0.1:8080/snap", ["http://[::1]:8080/snap"]),
        ("https://10.0.0.1/snap", ["https://[::1]/snap", "http://[::1]:8080/snap"]),
        ("https://10.0.0.1:8080/snap", ["https://[::1]:8080/snap", "http://[::1]:8080/snap"]),
        (
            "http://u:p@evil.example:81/a b\r\nX: y",
            ["http://[::1]:81/a%20bX:%20y", "http://[::1]:8080/a%20bX:%20y"],
        ),
        ("http://10.0.0.1:8080", ["http://[::1]:8080/"]),
        (" http://10.0.0.1:8080/snap ", ["http://[::1]:8080/snap"]),
    ],
)
def test_what_is_named_by_http_is_had_at_our_host(named: str, places: list[str]) -> None:
    """With the port and scheme as they are named first, then at the port of the site file."""
    assert [str(each) for each in web_places(named, "::1", 8080, "snapshot")] == places


@pytest.mark.parametrize("named", ["rtsp://10.0.0.1/snap", "ftp://h/x", "//h/x", "snap.jpg", "http://"])
def test_what_is_no_web_address_is_not_asked(named: str) -> None:
    """Some name their RTSP stream as snapshot."""
    with pytest.raises(Unavailable, match="the camera names"):
        web_places(named, "h", 80, "snapshot")


HERE = Place("http", "cam.example", 8000, "/onvif/device_service?x=1")


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/other", "http://cam.example:8000/other"),
        ("other", "http://cam.example:8000/onvif/other"),
        ("http://cam.example/other?y=2", "http://cam.example/other?y=2"),
        ("https://CAM.example/other", "https://cam.example/other"),
        ("https://cam.example:8443/", "https://cam.example:8443/"),
        ("http://evil.example/other", None),
        ("//evil.example/other", None),
        ("http://cam.example@evil.example/", None),
        ("http://cam.example.evil.example/", None),
        ("file:///etc/passwd", None),
        ("rtsp://cam.example/s", None),
        ("http://[::1/", None),
    ],
)
def test_a_redirect_is_followed_within_the_camera_only(location: str, followed: str | None) -> None:
    """Its credentials go nowhere else."""
    if followed is not None:
        assert str(redirected(HERE, location)) == followed
        return
    with pytest.raises(Unavailable, match="redirects to"):
        redirected(HERE, location)


def test_a_redirect_never_leads_out_of_https() -> None:
    """What was said in private stays so."""
    with pytest.raises(Unavailable, match="from https"):
        redirected(Place("https", "cam.example", 443, "/"), "http://cam.example/")


def test_credentials_are_encoded_and_never_shown() -> None:
    """A password with URL characters reaches the camera whole, and no text about it does."""
    address = Address(url="rtsp://cam:554/s", username="ad@min", password="p/w:@ #")
    assert address.with_credentials() == "rtsp://ad%40min:p%2Fw%3A%40%20%23@cam:554/s"
    assert "p/w" not in repr(address)
    assert scrub(f"cannot open {address.with_credentials()}") == "cannot open rtsp://cam:554/s"
    secret = OnvifAddress(host="h", port=80, username="u", password="geheim")
    spec = CameraSpec(id="c", onvif=secret)
    assert "geheim" not in repr(spec)


def test_camera_has_exactly_one_address() -> None:
    """Neither none nor both are taken."""
    stream = StreamAddress(url="rtsp://h/s")
    with pytest.raises(ValueError, match="either onvif or stream"):
        CameraSpec(id="c")
    with pytest.raises(ValueError, match="either onvif or stream"):
        CameraSpec(id="c", stream=stream, onvif=OnvifAddress(host="h", port=80))
