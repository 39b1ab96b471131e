"""What an RTSP server may ask for, or lead to, before it lets somebody in: where a password is tried, and what is said of it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from pathlib import Path

import pytest

from drivers.cameras.spec import REFUSED_BACK_OFF_S, CameraSpec, StreamAddress
from drivers.cameras.worker.stream.opening import Address, Fallen, opened
from simulators.camera.simulated import SimulatedCamera
from tests.support.camera_bank import banked, by_stream, healthy, started
from tests.support.rtsp_doors import rtsp_door
from tests.support.signals import wait_until

ASKS = "WWW-Authenticate: "
MD5 = ASKS + 'Digest realm="x", nonce="a"'
SHA = ASKS + 'Digest realm="IP Camera(GH455)", nonce="a", algorithm="SHA-256", stale="FALSE"'


def failed(port: int, *, username: str = "admin", password: str = "secret", path: str = "/s") -> Fallen:
    """What comes of opening it."""
    with pytest.raises(Fallen) as fallen:
        opened(
            Address(url=f"rtsp://127.0.0.1:{port}{path}", username=username, password=password), audio=False
        )
    assert "secret" not in fallen.value.cause
    return fallen.value


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        ([SHA], "asks for Digest SHA-256"),
        ([MD5, SHA], "asks for Digest, Digest SHA-256"),
        ([ASKS + 'Digest realm="x", nonce="a", algorithm=md5'], "asks for Digest md5"),
        ([ASKS + "Negotiate"], "asks for Negotiate"),
        ([ASKS + 'Bearer realm="x"', ASKS + "NTLM"], "asks for Bearer, NTLM"),
        ([ASKS + 'Digest realm="x", nonce="a", algorithm=SHA-512-256'], "asks for Digest SHA-512-256"),
    ],
)
def test_a_log_in_that_cannot_be_given_is_no_wrong_password(asks: list[str], told: str) -> None:
    """None was tried, so there is no long pause; and it says what to set."""
    with rtsp_door("401 Unauthorized", *asks) as door:
        fallen = failed(door.port)
    assert told in fallen.cause
    assert "no password was tried" in fallen.cause
    assert "refuses" not in fallen.cause
    assert fallen.pause_s is not None
    assert fallen.pause_s < REFUSED_BACK_OFF_S
    assert door.passwords == []


@pytest.mark.parametrize(
    "asks",
    [
        [MD5],
        [SHA, MD5],
        [ASKS + 'Basic realm="x"', MD5],
        [MD5, ASKS + 'Basic realm="x"'],
        [ASKS + 'Digest realm="x", nonce="a", algorithm=MD5-sess'],
        [ASKS + 'Digest realm="x", nonce="a", qop="auth-int,auth"'],
        [ASKS + 'Basic realm="x"'],
    ],
)
def test_a_password_that_was_tried_and_refused_is_left_alone(asks: list[str]) -> None:
    """Cameras lock accounts."""
    with rtsp_door("401 Unauthorized", *asks) as door:
        fallen = failed(door.port)
    assert "refuses user name or password" in fallen.cause
    assert fallen.pause_s == REFUSED_BACK_OFF_S
    assert len(door.passwords) == 1


def test_without_a_user_name_none_is_called_wrong() -> None:
    """It says that one is wanted."""
    with rtsp_door("401 Unauthorized", MD5) as door:
        fallen = failed(door.port, username="", password="")
    assert "asks for a user name and password" in fallen.cause
    assert fallen.pause_s != REFUSED_BACK_OFF_S


def test_basic_is_not_answered_where_digest_was_asked_for_before() -> None:
    """A camera that is somebody else today does not get the password readable."""
    with rtsp_door("401 Unauthorized", MD5) as door:
        failed(door.port)
        door.answer = ["401 Unauthorized", ASKS + 'Basic realm="x"']
        fallen = failed(door.port)
    assert "asks for Basic alone now" in fallen.cause
    assert not any(each.startswith("Basic") for each in door.passwords)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "305 Use Proxy", "307 Temporary"]
)
@pytest.mark.parametrize(
    "location",
    [
        "rtsp://localhost:{other}/s",
        "rtsp://127.0.0.1@localhost:{other}/s",
        "//localhost:{other}/s",
        "http://127.0.0.1:{other}/s",
        "file:///etc/passwd",
        "concat:/etc/passwd",
        "",
        "rtsp://[::1/",
    ],
)
def test_a_redirect_to_another_place_takes_no_password_there(status: str, location: str) -> None:
    """Nothing is even connected to."""
    with rtsp_door("401 Unauthorized", ASKS + 'Basic realm="x"') as other:
        with rtsp_door(status, f"Location: {location.format(other=other.port)}") as door:
            fallen = failed(door.port)
        assert "redirects its stream to" in fallen.cause
        assert "password would go there" in fallen.cause
        assert (door.passwords, other.requests) == ([], [])


def test_a_camera_that_serves_one_connection_is_not_asked_beforehand_each_time() -> None:
    """What was found and could not be opened is opened the next time without asking."""
    with rtsp_door("200 OK") as door:  # a description of nothing: the library cannot open it
        firsts = []
        for _ in range(3):
            before = len(door.requests)
            failed(door.port)
            firsts.append(door.requests[before].partition(" ")[0])
    assert firsts == ["DESCRIBE", "OPTIONS", "DESCRIBE"]


def test_a_redirect_in_a_circle_ends() -> None:
    """After a few."""
    with rtsp_door("302 Found") as door:
        door.answer = ["302 Found", f"Location: rtsp://127.0.0.1:{door.port}/again"]
        assert "again and again" in failed(door.port).cause
        assert len(door.requests) == 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/s", "file:///etc/passwd", "tcp://127.0.0.1:{port}", "concat:/a|/b"]
)
def test_what_is_no_rtsp_address_is_not_opened(url: str) -> None:
    """By whatever road it came here."""
    with rtsp_door("200 OK") as door:
        with pytest.raises(Fallen, match="is no rtsp:// address"):
            opened(Address(url=url.format(port=door.port), username="admin", password="secret"), audio=False)
        assert door.requests == []


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("admin", "(*&!*)%&^~^@##%"),
        ("admin", "/abc"),
        ("admin", "a:b"),
        ("admin", "p%40ss"),
        ("admin", "密码" * 20),
        ("admin", "".join(chr(c) for c in range(33, 127))),
        ("管理员", " ü"),
        ("a", "x" * 125),
    ],
)
def test_any_credentials_reach_the_camera_whole(username: str, password: str) -> None:
    """Held against the digest by its definition."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    with rtsp_door("401 Unauthorized", MD5) as door:
        failed(door.port, username=username, password=password)
        uri = f"rtsp://127.0.0.1:{door.port}/s"
        wanted = md5(f"{md5(f'{username}:x:{password}')}:a:{md5(f'DESCRIBE:{uri}')}")
        assert re.findall(r'response="(\w+)"', " ".join(door.passwords)) == [wanted]


def test_credentials_that_would_be_cut_off_are_not_sent() -> None:
    """What is cut off is a wrong password, and would lock the account."""
    with rtsp_door("401 Unauthorized", MD5) as door:
        fallen = failed(door.port, username="a", password="x" * 126)
        assert "1 bytes longer than can be sent" in fallen.cause
        assert fallen.pause_s != REFUSED_BACK_OFF_S
        assert door.passwords == []


def test_a_redirect_within_the_camera_is_followed(tmp_path: Path) -> None:
    """To another port or path of the same host."""
    camera = SimulatedCamera(name="cam")

    async def run() -> None:
        async with started(camera):
            with rtsp_door("302 Found", f"Location: {camera.rtsp_url}") as door:
                spec = CameraSpec(
                    id="cam",
                    stream=StreamAddress(
                        url=f"rtsp://127.0.0.1:{door.port}/s",
                        username=camera.username,
                        password=camera.password,
                    ),
                )
                async with banked([spec], tmp_path) as bank:
                    await healthy(bank)

    asyncio.run(run())


def test_a_password_corrected_where_the_site_file_says_it_is_is_tried_at_once(tmp_path: Path) -> None:
    """By its stream, ten minutes' pause or not."""
    camera = SimulatedCamera(name="cam")
    kept = {"password": "wrong"}

    async def run() -> None:
        async with started(camera):
            spec = by_stream(camera, password="wrong")
            spec = CameraSpec(id=spec.id, stream=spec.stream, reread_password=lambda: kept["password"])
            async with banked([spec], tmp_path) as bank:
                await wait_until(lambda: "refuses user name or password" in bank.health()["cam"].cause, 20)
                kept["password"] = camera.password
                began = time.monotonic()
                await healthy(bank, timeout_s=30)
                assert time.monotonic() - began < 30

    asyncio.run(run())
