"""The web server of a camera as it is met: head lines that are none, lengths that are wrong, bytes behind the picture, many
log-ins. One row each; every row was refused, or cost the picture, at some time.

One file, though long: it is a table and the server that plays it.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.cameras.http.challenges import Login, Unanswerable
from drivers.cameras.http.conversation import readable_by_nobody
from drivers.cameras.http.door import Place
from drivers.cameras.parent import snapshots
from drivers.cameras.parent.snapshots import Snapshot, Snapshots
from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Unavailable
from tests.support.certificates import StrangeCa
from tests.support.processes import free_port
from tests.support.raw_http import raw_http


def _picture(*, progressive: bool = False, width: int = 320) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (width * 3 // 4, width, 3), dtype=np.uint8)
    ok, data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    assert ok
    return bytes(data)


PICTURE = _picture()
PROGRESSIVE = _picture(progressive=True)
THUMBNAIL = _picture(width=32)
APP1 = b"\xff\xe1" + (len(THUMBNAIL) + 8).to_bytes(2, "big") + b"Exif\0\0" + THUMBNAIL
WITH_THUMBNAIL = PICTURE[:2] + APP1 + PICTURE[2:]
RESTARTS = bytes(
    cv2.imencode(
        ".jpg", cv2.imdecode(np.frombuffer(PICTURE, np.uint8), 1), [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]
    )[1]
)
FILLED = PICTURE[:2] + b"\xff\xff" + PICTURE[2:-2] + b"\xff\xff" + PICTURE[-2:]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


def saying(width: int, height: int) -> bytes:
    """A picture whose frame header names another size."""
    data = bytearray(_picture())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def sized(body: bytes, length: int | None = None, head: bytes = OK) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def chunked(body: bytes, size: int, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%X%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


def part(body: bytes) -> bytes:
    return b"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(body), body)


LOOSE = {
    "as it should be": sized(PICTURE),
    "date line without a name": (
        b"HTTP/1.1 200 OK\r\nServer: GoaHead\r\nTue, 12 Jun 2012 01:56:34 GMT\r\nContent-Type:image/jpeg\r\n"
        b"Content-Length:%d\r\nConnection: close\r\n\r\n%s" % (len(PICTURE), PICTURE)
    ),
    "head line without a colon": sized(PICTURE, head=OK + b"GoaHead\r\n"),
    "head line of blanks": sized(PICTURE, head=OK + b" \r\n"),
    "continued head line": sized(PICTURE, head=OK + b"X-Long: a\r\n  and more: of it\r\n"),
    "head line with a blank in its name": sized(PICTURE, head=OK + b"Content Length: 7\r\n"),
    "head line in another alphabet": sized(PICTURE, head=OK + "名字: 摄像机\r\n".encode("gb18030")),
    "head line with a NUL": sized(PICTURE, head=OK + b"Server: a\0b\r\n"),
    "no reason phrase": sized(PICTURE, head=b"HTTP/1.1 200\r\n"),
    "no version": sized(PICTURE, head=b"HTTP 200 OK\r\n"),
    "HTTP/1.0 without a length": b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE,
    "line ends of one byte": b"HTTP/1.1 200 OK\nContent-Type: image/jpeg\n\n" + PICTURE,
    "continue before it": b"HTTP/1.1 100 Continue\r\n\r\n" + sized(PICTURE),
    "length 48 too long": sized(PICTURE, len(PICTURE) + 48),
    "length 48 too short": sized(PICTURE, len(PICTURE) - 48),
    "length 0": sized(PICTURE, 0),
    "length below nought": sized(PICTURE, -1),
    "length no number": OK + b"Content-Length: many\r\n\r\n" + PICTURE,
    "two lengths": sized(PICTURE, head=OK + b"Content-Length: 5\r\n"),
    "zeros behind": sized(PICTURE + bytes(100)),
    "513 zeros behind": sized(PICTURE + bytes(513)),
    "513 bytes FF behind": sized(PICTURE + b"\xff" * 513),
    "dhav behind": sized(PICTURE + b"dhav\x12\x34\x00\x00"),
    "another picture behind": sized(PICTURE + THUMBNAIL),
    "a line end before": sized(b"\r\n" + PICTURE),
    "progressive": sized(PROGRESSIVE),
    "a thumbnail inside": sized(WITH_THUMBNAIL),
    "restart markers": sized(RESTARTS),
    "fill bytes before markers": sized(FILLED),
    "one part of many": (
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=edge\r\n\r\n"
        + part(PICTURE) * 2
    ),
    "chunked": chunked(PICTURE, 1000),
    "chunks of one byte": chunked(PICTURE, 1),
    "chunked without its end": chunked(PICTURE, 1000, end=b""),
    "chunk extensions": chunked(PICTURE, 1000, extension=b";a=b"),
    "chunked and a length": chunked(PICTURE, 1000).replace(
        b"image/jpeg\r\n", b"image/jpeg\r\nContent-Length: 9\r\n", 1
    ),
    "chunked in name only": OK + b"Transfer-Encoding: chunked\r\n\r\n" + PICTURE,
    "gzip": sized(gzip.compress(PICTURE), head=OK + b"Content-Encoding: gzip\r\n"),
    "deflate": sized(zlib.compress(PICTURE), head=OK + b"Content-Encoding: deflate\r\n"),
    "deflate without its wrapping": sized(
        zlib.compress(PICTURE)[2:-4], head=OK + b"Content-Encoding: deflate\r\n"
    ),
    "identity": sized(PICTURE, head=OK + b"Content-Encoding: identity\r\n"),
}
WHOLE = {
    "progressive": PROGRESSIVE,
    "a thumbnail inside": WITH_THUMBNAIL,
    "restart markers": RESTARTS,
    "fill bytes before markers": FILLED,
}


async def fetched(
    port: int, *, path: str = "/snap.jpg", username: str = "admin", password: str = "right"
) -> Snapshot:
    address = OnvifAddress(host="127.0.0.1", port=port, username=username, password=password)
    return await Snapshots().fetch(f"http://192.0.2.7:{port}{path}", address)


@pytest.mark.parametrize("kept_open", [False, True], ids=["closed", "kept open"])
@pytest.mark.parametrize("name", LOOSE)
def test_a_picture_is_had_however_loosely_it_is_sent(name: str, kept_open: bool) -> None:
    """Its own bytes from SOI to EOI, none of what stands before or behind, and without waiting for a length that was wrong."""

    async def run() -> None:
        async with raw_http(lambda _: LOOSE[name], hold=kept_open) as server:
            began = time.monotonic()
            picture = await fetched(server.port)
            assert picture.jpeg == WHOLE.get(name, PICTURE)
            assert time.monotonic() - began < snapshots.DEADLINE_S

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "without an answer"),
        (b"\r\n", "is no HTTP"),
        (b"SSH-2.0-dropbear\r\n\r\n", "is no HTTP"),
        (b"HTTP/1.1 banana\r\n\r\n", "is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", "exceeds 32 KiB"),
        (b"HTTP/1.1 102 Wait\r\n\r\n" * 9, "interim answers only"),
        (sized(PICTURE[:-700]), "no whole JPEG"),
        (sized(saying(65535, 65535)), "says it is 65535x65535; at most"),
        (sized(saying(16384, 4096)), "says it is 16384x4096; at most"),
        (sized(WITH_THUMBNAIL[: len(APP1) + 2]), "no whole JPEG"),
        (sized(b"<html>\xff\xd8 log in</html>"), "no whole JPEG: 22 bytes beginning 3c68746d"),
        (sized(b""), "no whole JPEG: 0 bytes"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 503 Busy\r\n\r\nbusy", "answers 503"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.9/x\r\n\r\n",
            "redirects to http://192.0.2.9/x, another place",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n", "redirects to ftp://127.0.0.1/x"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", "redirects again and again"),
        (sized(b"no gzip", head=OK + b"Content-Encoding: gzip\r\n"), "cannot be undone"),
    ],
)
def test_what_is_no_picture_is_told_in_words(answer: bytes, told: str) -> None:
    """No name of an error's class, and no waiting for the end of the time."""

    async def run() -> None:
        async with raw_http(lambda _: answer) as server:
            with pytest.raises(Unavailable, match=told) as failed:
                await fetched(server.port)
            assert not re.search(r"\b\w+(Error|Exception)\b", failed.value.reason)

    asyncio.run(run())


# ------------------------------------------------------------------ what a hostile one can cost


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("a bomb", [OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(200 << 20), 9)]),
        ("endless", [OK + b"\r\n\xff\xd8\xff\xdb\x00\x04"] + [bytes(1 << 16)] * 400),
        (
            "endless chunks",
            [OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\xff\xd8\xff\xdb\r\n"]
            + [b"10000\r\n" + bytes(1 << 16) + b"\r\n"] * 400,
        ),
        (
            "one endless chunk",
            [OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n\xff\xd8\xff\xdb"] + [bytes(1 << 16)] * 400,
        ),
        ("endless chunk line", [OK + b"Transfer-Encoding: chunked\r\n\r\n"] + [b"1" * (1 << 16)] * 400),
        ("endless head line", [b"HTTP/1.1 200 OK\r\nX: "] + [b"y" * (1 << 16)] * 400),
        (
            "tiny chunks",
            [OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n\xff\r\n1\r\n\xd8\r\n1\r\n\xff\r\n"]
            + [b"1\r\n\0\r\n" * 10_000] * 300,
        ),
    ],
)
def test_a_hostile_camera_costs_little(
    name: str, pieces: Sequence[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bounded in memory and time, and everything else in the process has its turn all the while."""

    async def run() -> None:
        longest = 0.0

        async def tick() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)

        async with raw_http(lambda _: pieces) as server:
            ticking = asyncio.create_task(tick())
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await fetched(server.port)
            took_s = time.monotonic() - began
            ticking.cancel()
            tracemalloc.start()  # makes all of it slower: so it is looked at apart
            try:
                with pytest.raises(Unavailable):
                    await fetched(server.port)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        with capsys.disabled():
            print(
                f"\n{name}: {took_s:.2f} s, {peak >> 20} MiB, others waited {longest * 1000:.0f} ms at most"
            )
        assert took_s < snapshots.DEADLINE_S + 1
        assert peak < 4 * snapshots.LARGEST
        assert longest < 0.5  # of a second that it was; the cores are shared

    asyncio.run(run())


# ------------------------------------------------------------------ log-ins


class Guard:
    """Asks with these headers; lets in who answers with digest as it should be, by one algorithm and qop, or with Basic."""

    def __init__(
        self,
        asks: Sequence[str],
        *,
        takes: str,
        qop: str = "auth",
        username: str = "admin",
        password: str = "right",
    ) -> None:
        self._asks, self._takes, self._qop = asks, takes, qop
        self._username, self._password = username, password
        self.tried = 0

    def __call__(self, request: bytes) -> bytes:
        head = request.split(b"\r\n\r\n")[0].decode()
        given = next(
            (line[15:] for line in head.split("\r\n") if line.lower().startswith("authorization: ")), ""
        )
        if given:
            self.tried += 1
        if self._admits(given, head.split(" ")[0], head.split(" ")[1]):
            return sized(PICTURE)
        asked = "".join(f"{each}\r\n" for each in self._asks)
        return f"HTTP/1.1 401 Unauthorized\r\n{asked}Content-Length: 0\r\n\r\n".encode()

    def _admits(self, given: str, method: str, target: str) -> bool:
        if self._takes == "Basic":
            told = base64.b64encode(f"{self._username}:{self._password}".encode()).decode()
            return given == f"Basic {told}"
        if not given.startswith("Digest "):
            return False
        fields = {
            name: re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
            for name, quoted, bare in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', given)
        }
        if (
            fields.get("algorithm", "MD5").upper() != self._takes.upper()
            or fields.get("qop", "") != self._qop
        ):
            return False
        sha = self._takes.upper().startswith("SHA-256")

        def h(text: str) -> str:
            return (hashlib.sha256 if sha else hashlib.md5)(text.encode()).hexdigest()

        account = h(f"{self._username}:{fields['realm']}:{self._password}")
        if self._takes.upper().endswith("-SESS"):
            account = h(f"{account}:{fields['nonce']}:{fields['cnonce']}")
        wanted = h(f"{method}:{target}" + (f":{h('')}" if self._qop == "auth-int" else ""))
        middle = (
            f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{self._qop}"
            if self._qop
            else fields["nonce"]
        )
        return (
            fields["username"] == self._username
            and fields["uri"] == target
            and fields["response"] == h(f"{account}:{middle}:{wanted}")
        )


W = "WWW-Authenticate: "
MD5 = 'Digest realm="x", nonce="abc", qop="auth"'
SHA = 'Digest realm="x", nonce="abc", qop="auth", algorithm=SHA-256'
BASIC = 'Basic realm="x"'


@pytest.mark.parametrize(
    ("asks", "takes", "qop"),
    [
        ([W + MD5], "MD5", "auth"),
        ([W + 'Digest realm="x", nonce="abc"'], "MD5", ""),
        (["www-authenticate: digest REALM=x,NONCE=abc,QOP=auth,ALGORITHM=md5"], "MD5", "auth"),
        ([W + SHA], "SHA-256", "auth"),
        (
            [W + 'Digest realm="IP Camera(GH455)", nonce="abc", algorithm="SHA-256", stale="FALSE"'],
            "SHA-256",
            "",
        ),
        ([W + MD5, W + SHA], "SHA-256", "auth"),
        ([W + SHA, W + MD5], "SHA-256", "auth"),
        ([W + SHA + ", " + MD5], "SHA-256", "auth"),
        ([W + MD5.replace('abc"', 'abc", algorithm=MD5-sess')], "MD5-sess", "auth"),
        ([W + 'Digest realm="x", nonce="abc", algorithm=MD5-sess'], "MD5-sess", ""),
        ([W + 'Digest realm="x", nonce="abc", algorithm=SHA-512-999', W + MD5], "MD5", "auth"),
        ([W + 'Digest realm="onvif", qop="auth,auth-int", nonce="5dcd", opaque="528eacb9"'], "MD5", "auth"),
        ([W + 'Digest realm="onvif", qop="auth-int,auth", nonce="5dcd"'], "MD5", "auth"),
        ([W + 'Digest realm="onvif", qop="auth-int auth", nonce="5dcd"'], "MD5", "auth"),
        ([W + 'Digest realm="onvif", qop="auth-int", nonce="5dcd"'], "MD5", "auth-int"),
        ([W + 'Digest realm="a \\"b\\", nonce=\\"no", nonce="abc", qop="auth"'], "MD5", "auth"),
        ([W + 'Digest realm="", nonce="a,b=c", qop="auth",'], "MD5", "auth"),
        ([W + BASIC], "Basic", ""),
        ([W + BASIC, W + MD5], "MD5", "auth"),
        ([W + MD5, W + BASIC], "MD5", "auth"),
        ([W + BASIC + ", " + MD5], "MD5", "auth"),
        ([W + MD5 + ", " + BASIC], "MD5", "auth"),
        ([W + "Negotiate", W + 'Bearer realm="x"', W + MD5], "MD5", "auth"),
        ([W + "Negotiate abc==, " + MD5], "MD5", "auth"),
        ([W + "NTLM, basic realm=x"], "Basic", ""),
    ],
)
def test_the_best_of_all_that_is_asked_for_is_answered(asks: list[str], takes: str, qop: str) -> None:
    """Whatever its place, case and form; and with one attempt."""

    async def run() -> None:
        guard = Guard(asks, takes=takes, qop=qop)
        async with raw_http(guard) as server:
            assert (await fetched(server.port, path="/snap.cgi?a=b&c=%20d e")).jpeg == PICTURE
            assert guard.tried == 1

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
        ('o"brien\\x', 'qu"o\\te'),
        ("管理员", "x" * 400),
        ("admin", " blanks around "),
        ("admin", ""),
    ],
)
@pytest.mark.parametrize("takes", ["MD5", "SHA-256", "Basic"])
def test_any_credentials_are_sent_whole(username: str, password: str, takes: str) -> None:
    """Of any length, in any alphabet."""

    async def run() -> None:
        asks = [W + {"MD5": MD5, "SHA-256": SHA, "Basic": BASIC}[takes]]
        async with raw_http(Guard(asks, takes=takes, username=username, password=password)) as server:
            assert (await fetched(server.port, username=username, password=password)).jpeg == PICTURE

    asyncio.run(run())


@pytest.mark.parametrize(
    ("asks", "told"),
    [
        (["X: y"], "does not say which log-in"),
        ([W + "Negotiate"], "asks for Negotiate: none of that can be answered"),
        ([W + "Digest nonce=x, algorithm=MD4"], "asks for Digest MD4"),
        ([W + 'Digest realm="x", nonce="y", qop="auth-conf"'], r"asks for Digest \(auth-conf\)"),
        ([W + 'Digest realm="x"'], "asks for Digest: none"),
        ([W + ", ,=;"], "does not say which log-in"),
    ],
)
def test_what_nobody_here_can_answer_is_not_called_a_wrong_password(asks: list[str], told: str) -> None:
    """It says what is asked for, and no password went out."""

    async def run() -> None:
        guard = Guard(asks, takes="none")
        async with raw_http(guard) as server:
            with pytest.raises(Unavailable, match=told) as failed:
                await fetched(server.port)
            assert "refuses user name" not in failed.value.reason
            assert guard.tried == 0

    asyncio.run(run())


def test_a_wrong_password_is_tried_once_and_called_so() -> None:
    """One attempt for each picture that is asked for."""

    async def run() -> None:
        guard = Guard([W + MD5], takes="MD5")
        async with raw_http(guard) as server:
            with pytest.raises(Unavailable, match="refuses user name or password"):
                await fetched(server.port, password="wrong")
            assert guard.tried == 1

    asyncio.run(run())


@pytest.mark.parametrize("stale", ["", ", stale=true"])
def test_a_log_in_is_remembered_until_its_nonce_is_worn(stale: str) -> None:
    """The second picture takes one exchange; a new nonce is answered without being taken for a refusal."""

    async def run() -> None:
        guard, worn = Guard([W + MD5], takes="MD5"), False

        def answer(request: bytes) -> bytes:
            if worn and b'nonce="abc"' in request:
                return f"HTTP/1.1 401 No\r\n{W}{MD5.replace('abc', 'second')}{stale}\r\n\r\n".encode()
            return guard(request)

        async with raw_http(answer) as server:
            address = OnvifAddress(host="127.0.0.1", port=server.port, username="admin", password="right")
            pictures, url = Snapshots(), f"http://127.0.0.1:{server.port}/s"
            for _ in range(3):
                await pictures.fetch(url, address)
            assert [bool(each) for each in server.credentials()] == [False, True, True, True]
            assert [re.findall(r"nc=(\d+)", each) for each in server.credentials()[1:]] == [
                ["00000001"],
                ["00000002"],
                ["00000003"],
            ]
            worn = True
            await pictures.fetch(url, address)
            assert len(server.requests) == 6
            assert 'nonce="second"' in server.credentials()[-1]

    asyncio.run(run())


# ------------------------------------------------------------------ where it is


@pytest.mark.parametrize("named", ["http://192.0.2.7:{web}/cgi?a=b", "http://{web}@192.0.2.7:{web}/cgi?a=b"])
@pytest.mark.parametrize("there", [True, False], ids=["another port", "that port is not reached"])
def test_the_port_is_the_one_that_is_named_or_ours(named: str, there: bool) -> None:
    """At the host of the site file in both cases; and asked there first from then on."""

    async def run() -> None:
        def answer(request: bytes) -> bytes:
            return sized(PICTURE) if request.startswith(b"GET /cgi?a=b ") else b"HTTP/1.1 404 No\r\n\r\n"

        async with raw_http(answer) as right, raw_http(lambda _: b"HTTP/1.1 404 No\r\n\r\n") as other:
            onvif, web = (other, right) if there else (right, other)
            address = OnvifAddress(host="127.0.0.1", port=onvif.port, username="admin", password="right")
            pictures = Snapshots()
            for _ in range(2):
                assert (await pictures.fetch(named.format(web=web.port), address)).jpeg == PICTURE
            assert (len(right.requests), len(other.requests)) == (2, 0 if there else 1)

    asyncio.run(run())


def test_https_is_spoken_where_it_is_named(tmp_path: Path) -> None:
    """With whatever certificate the camera made for itself; and Basic is answered there, wherever it is."""
    made = StrangeCa(tmp_path / "ca").leaf("camera", names="DNS:elsewhere", ends=timedelta(minutes=-1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)

    async def run() -> None:
        async with raw_http(Guard([W + BASIC], takes="Basic"), tls=context) as server:
            address = OnvifAddress(host="127.0.0.1", port=1, username="admin", password="right")
            picture = await Snapshots().fetch(f"https://192.0.2.7:{server.port}/s", address)
            assert picture.jpeg == PICTURE

    asyncio.run(run())


def test_a_port_where_something_else_is_silent_gives_way_to_ours() -> None:
    """Behind NAT the named port may be anything at all."""

    async def run() -> None:
        async with raw_http(lambda _: sized(PICTURE)) as server, raw_http(lambda _: b"", hold=True) as silent:
            address = OnvifAddress(host="127.0.0.1", port=server.port, username="admin", password="right")
            picture = await Snapshots().fetch(f"http://192.0.2.7:{silent.port}/s", address)
            assert picture.jpeg == PICTURE

    asyncio.run(run())


def test_a_refused_password_is_not_tried_at_the_other_port() -> None:
    """Cameras count wrong passwords."""

    async def run() -> None:
        first, second = Guard([W + MD5], takes="MD5"), Guard([W + MD5], takes="MD5")
        async with raw_http(first) as named, raw_http(second) as ours:
            address = OnvifAddress(host="127.0.0.1", port=ours.port, username="admin", password="wrong")
            with pytest.raises(Unavailable, match="refuses user name or password"):
                await Snapshots().fetch(f"http://192.0.2.7:{named.port}/s", address)
            assert (first.tried, second.tried) == (1, 0)

    asyncio.run(run())


def test_a_port_where_nobody_listens_gives_way_to_ours() -> None:
    """A refused connection is no reason to go without the picture."""

    async def run() -> None:
        async with raw_http(lambda _: sized(PICTURE)) as server:
            address = OnvifAddress(host="127.0.0.1", port=server.port, username="admin", password="right")
            picture = await Snapshots().fetch(f"http://192.0.2.7:{free_port()}/s", address)
            assert picture.jpeg == PICTURE

    asyncio.run(run())


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
@pytest.mark.parametrize(
    "location", ["http://127.0.0.2:{port}/s", "//127.0.0.2:{port}/s", "https://127.0.0.2:{port}/s"]
)
def test_nobody_else_is_asked_for_a_redirect(status: str, location: str) -> None:
    """Not even connected to: whatever goes there goes with our log-in."""

    async def run() -> None:
        async with raw_http(Guard([W + BASIC], takes="Basic"), host="127.0.0.2") as other:
            head = f"HTTP/1.1 {status}\r\nLocation: {location.format(port=other.port)}\r\n\r\n"
            async with raw_http(lambda _: head.encode()) as server:
                with pytest.raises(Unavailable, match="another place than the site file names"):
                    await fetched(server.port)
            assert other.connections == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("scheme", "host", "allowed"),
    [
        ("http", "127.0.0.1", True),
        ("http", "::1", True),
        ("http", "localhost", True),
        ("http", "192.0.2.7", False),
        ("http", "camera.example", False),
        ("https", "192.0.2.7", True),
    ],
)
def test_basic_sends_no_password_readable_over_the_wire(scheme: str, host: str, allowed: bool) -> None:
    """Over https, or within this machine; else it is told what to set."""
    assert readable_by_nobody(Place(scheme, host, 80, "/")) == allowed
    login = Login("admin", "right")
    if allowed:
        login.take([BASIC], basic_allowed=allowed)
        assert (login.header("GET", "/", b"") or "").startswith("Basic ")
    else:
        with pytest.raises(Unanswerable, match=r"asks for Basic: .*set its log-in to Digest"):
            login.take([BASIC], basic_allowed=allowed)
        assert login.header("GET", "/", b"") is None
