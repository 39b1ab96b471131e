"""An S3 store that fails as stores and networks do: nothing is torn, nothing is lost, and the technician is told what to do.

One file, though long: every fault of one store, before the same link to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from minio.datatypes import Part

from gateway.domain.errors import Refused, Unavailable
from storage.objects.s3 import S3Objects
from tests.contract.object_store import KEY, digest, whole
from tests.support.clock import run
from tests.support.faulty_link import FaultyLink
from tests.support.processes import free_port, wait_for
from tests.support.s3_stores import Rclone, S3Store, any_s3

MB = 1_000_000
SMALL = bytes(range(250)) * (4 * MB // 250)  # one PUT
LARGE = bytes(range(250)) * (11 * MB // 250)  # three parts


@pytest.fixture(scope="module")
def rclone() -> Iterator[Rclone]:
    """The light store, once for this module."""
    with any_s3() as store:
        yield store


@pytest.fixture(params=["rclone", "ceph"])
def s3(request: pytest.FixtureRequest) -> S3Store:
    """Each of the real stores."""
    found: S3Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def link(s3: S3Store) -> Iterator[FaultyLink]:
    """The way to the store."""
    with FaultyLink(s3.port) as link:
        yield link


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "clip.mp4"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["one put", "parts"])
def test_a_put_cut_in_mid_body_arrives_whole(
    s3: S3Store, link: FaultyLink, tmp_path: Path, data: bytes
) -> None:
    """The connection is reset after 3 MB, twice: what is stored in the end is byte for byte the source, and nothing else."""
    bucket = s3.bucket()
    store = s3.objects(bucket, port=link.port)
    source = _file(tmp_path, data)
    link.cut_up, link.cuts = 3 * MB, 2
    run(store.put(KEY, source, sha256=digest(data)))
    assert link.cuts == 0
    assert s3.content(bucket) == {KEY: data}
    assert s3.unfinished(bucket) == []
    assert not source.exists()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["one put", "parts"])
def test_a_put_that_cannot_get_through_keeps_its_source(
    s3: S3Store, link: FaultyLink, tmp_path: Path, data: bytes
) -> None:
    """Cut at every attempt: Unavailable, the file is still there, the key is free; once the way is free it works."""
    bucket = s3.bucket()
    store = s3.objects(bucket, port=link.port)
    source = _file(tmp_path, data)
    link.cut_up, link.cuts = 3 * MB, 1000
    with pytest.raises(Unavailable, match="connection failed"):
        run(store.put(KEY, source, sha256=digest(data)))
    assert source.read_bytes() == data
    assert s3.content(bucket) == {}
    link.cuts = 0
    run(store.put(KEY, source, sha256=digest(data)))
    assert s3.content(bucket) == {KEY: data}
    wait_for(lambda: s3.unfinished(bucket) == [], within_s=10, what="no parts left behind")


def test_a_reading_cut_in_mid_body_goes_on_where_it_was(s3: S3Store, link: FaultyLink) -> None:
    """Reset after every 2 MB: the bytes that come out are those that were stored, each once."""
    store = s3.objects(s3.bucket(), port=link.port)

    async def story() -> None:
        await store.put_bytes(KEY, LARGE)
        link.cut_down, link.cuts = 2 * MB, 5
        assert await whole(store, KEY, piece=1 << 18) == LARGE
        assert link.cuts == 0
        link.cuts = 3
        assert await whole(store, KEY, 1000, 9 * MB, piece=1 << 18) == LARGE[1000 : 9 * MB]

    run(story())


def test_a_reading_that_never_gets_on_ends(s3: S3Store, link: FaultyLink) -> None:
    """A store that is gone in the middle of a reading: Unavailable, and neither a short object nor waiting for ever."""
    store = s3.objects(s3.bucket(), port=link.port)

    async def story() -> None:
        await store.put_bytes(KEY, LARGE)
        async with store.read(KEY) as piece:
            got = await piece(1 << 18)
            link.down()
            with pytest.raises(Unavailable):
                await _rest(piece)
            assert len(got) == 1 << 18

    run(story())


async def _rest(piece: Callable[[int], Awaitable[bytes]]) -> None:
    while await piece(1 << 18):
        pass


def test_a_thin_line_is_no_failure(rclone: Rclone) -> None:
    """A body takes many times the connect time-out: what counts is that bytes go on, so one attempt is enough."""
    with FaultyLink(rclone.port) as link:
        # Four times as long as a connection may take, and twice as long as no byte may go on; after 5 s this server ends it.
        link.bytes_per_s, body = 1.8 * MB, SMALL * 2
        store = rclone.objects(rclone.bucket(), port=link.port, connect_s=1.0, progress_s=2.0)
        began_s = time.monotonic()
        run(store.put_bytes(KEY, body))
        assert time.monotonic() - began_s > 4.0
        assert len(body) < link.passed_up < 1.1 * len(body)


def test_a_store_that_says_nothing_is_given_up_in_bounds(rclone: Rclone) -> None:
    """It takes connections and never answers: Unavailable after a few time-outs."""
    with FaultyLink(rclone.port) as link:
        link.silent = True
        store = rclone.objects(rclone.bucket(), port=link.port, progress_s=0.5)
        began_s = time.monotonic()
        with pytest.raises(Unavailable, match="connection failed"):
            run(store.put_bytes(KEY, SMALL))
        assert 1.0 < time.monotonic() - began_s < 6.0
        assert link.connections == 3


def test_a_store_killed_in_the_middle_of_a_put_gets_it_when_it_is_back(tmp_path: Path) -> None:
    """kill -9 of the store while a part is on its way: no torn object is seen, and the put works afterwards."""
    with Rclone(tmp_path) as store_process, FaultyLink(store_process.port) as link:
        bucket = store_process.bucket()
        link.bytes_per_s = 8 * MB
        store = store_process.objects(bucket, port=link.port)
        source = _file(tmp_path, LARGE)
        with ThreadPoolExecutor(1) as thread:
            putting = thread.submit(run, store.put(KEY, source, sha256=digest(LARGE)))
            wait_for(lambda: link.passed_up > 2 * MB, within_s=20, what="a part is on its way")
            store_process.kill()
            with pytest.raises(Unavailable):
                putting.result()
        assert source.read_bytes() == LARGE
        store_process.start()
        assert store_process.content(bucket) == {}
        link.bytes_per_s = None
        run(store.put(KEY, source, sha256=digest(LARGE)))
        assert store_process.content(bucket) == {KEY: LARGE}


def test_nobody_there_says_where_and_what_to_look_at(rclone: Rclone) -> None:
    """A closed port: Unavailable, with the address and the question to ask."""
    nobody = free_port()
    store = rclone.objects("bucket", port=nobody)
    with pytest.raises(
        Unavailable, match=rf"127\.0\.0\.1:{nobody}/bucket: cannot be reached.*is the store running"
    ):
        run(store.put_bytes(KEY, b"x"))


REFUSALS = [
    ({"secret_key": "not-the-secret"}, "SignatureDoesNotMatch", "storage.secret_key"),
    ({"access_key": "nobody"}, "InvalidAccessKeyId", "storage.access_key"),
    ({"bucket": "never-made"}, "NoSuchBucket", "create-bucket --bucket never-made"),
]


@pytest.mark.parametrize(("changes", "code", "advice"), REFUSALS)
def test_what_a_person_must_mend_is_refused_with_what_to_do(
    s3: S3Store, tmp_path: Path, changes: dict[str, str], code: str, advice: str
) -> None:
    """Wrong secret, unknown key id, no bucket: refused in every call, the source stays, and no secret is in the words."""
    store = s3.objects(**{"bucket": s3.bucket(), **changes})
    source = _file(tmp_path, b"evidence")

    async def story() -> None:
        for call in (
            lambda: store.put(KEY, source, sha256=digest(b"evidence")),
            lambda: store.put_bytes(KEY, b"evidence"),
            lambda: store.keys(""),
            lambda: store.check(),
            lambda: whole(store, KEY),
        ):
            with pytest.raises(Refused) as refused:
                await call()
            assert code in refused.value.reason
            assert advice in refused.value.reason
            assert s3.secret_key not in refused.value.reason
            assert "not-the-secret" not in refused.value.reason

    run(story())
    assert source.read_bytes() == b"evidence"


def test_a_clock_that_is_off_is_named(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour behind: not the store's refusal but something to set right, after which it works."""
    import minio.time

    store = s3.objects(s3.bucket())
    monkeypatch.setattr(minio.time, "utcnow", lambda: datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(Unavailable, match=r"RequestTimeTooSkewed.*set this box's clock"):
        run(store.put_bytes(KEY, b"x"))
    monkeypatch.undo()
    run(store.put_bytes(KEY, b"x"))


def test_something_else_than_a_store_is_called_by_name(rclone: Rclone) -> None:
    """A web server at the address answers, and the words say that it is no S3 store."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return
                with near:
                    near.recv(65536)
                    near.sendall(
                        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 4\r\n"
                        b"Connection: close\r\n\r\nnope"
                    )

        with ThreadPoolExecutor(1) as thread:
            thread.submit(answer)
            store = rclone.objects("bucket", port=listening.getsockname()[1])
            with pytest.raises(Refused, match=r"not in the words of an S3 store.*storage\.objects"):
                run(store.keys(""))
            listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own CA, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


def test_a_store_over_tls_is_checked_against_its_ca(tmp_path: Path, certificates: tuple[Path, Path]) -> None:
    """With its CA everything works, in one put and in parts; with the system's CAs nothing is sent and storage.ca is named."""
    cert, key = certificates
    with Rclone(tmp_path, cert=cert, key=key) as store_process:
        store_process.tls = ssl.create_default_context(cafile=str(cert))
        bucket = store_process.bucket()
        store = store_process.objects(bucket)
        for name, data in (("a.mp4", SMALL), ("b.mp4", LARGE)):
            run(store.put_bytes(name, data))
            assert run(whole(store, name, piece=1 << 20)) == data
        stranger = store_process.objects(bucket, tls=ssl.create_default_context())
        with pytest.raises(Unavailable, match=r"TLS fails.*certificate.*storage\.ca"):
            run(stranger.put_bytes("c.mp4", b"x"))
        plain = store_process.objects(bucket, tls=None)
        with pytest.raises((Unavailable, Refused)):
            run(plain.put_bytes("c.mp4", b"x"))
        assert set(store_process.content(bucket)) == {"a.mp4", "b.mp4"}


def test_bytes_altered_on_the_way_are_not_taken(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store gets is not what its MD5 and digest say: it refuses, and nothing lies under the key."""
    import minio.api

    bucket = s3.bucket()
    store = s3.objects(bucket)
    monkeypatch.setattr(minio.api, "sha256_hash", lambda _: hashlib.sha256(b"evidence").hexdigest())
    monkeypatch.setattr("storage.objects.s3_calls._md5", lambda _: "XrY7u+Ae7tCTyyK7j1rNww==")
    with pytest.raises((Unavailable, Refused)):
        run(store.put_bytes(KEY, b"evidencX"))
    assert s3.content(bucket) == {}


@pytest.mark.parametrize("keeps", [True, False], ids=["keeps the digest", "forgot it"])
def test_the_same_bytes_are_known_again_even_where_the_store_forgets_our_digest(
    tmp_path: Path, keeps: bool
) -> None:
    """rclone keeps metadata in its memory only: after its restart the bytes themselves are compared."""
    with Rclone(tmp_path) as store_process:
        bucket = store_process.bucket()
        store = store_process.objects(bucket)
        run(store.put_bytes(KEY, SMALL))
        if not keeps:
            store_process.kill()
            store_process.start()
            head = store._s3().head(KEY)
            assert head is not None
            assert head.sha256 is None
        run(store.put_bytes(KEY, SMALL))
        with pytest.raises(Refused, match="other bytes"):
            run(store.put_bytes(KEY, SMALL[:-1] + b"x"))
        assert store_process.content(bucket) == {KEY: SMALL}


def test_of_two_gateways_that_put_one_key_at_once_one_wins(ceph: S3Store) -> None:
    """Neither knows of the other; the store's own If-None-Match decides, thirty times, and the loser is told."""
    bucket = ceph.bucket()
    first, second = ceph.objects(bucket), ceph.objects(bucket)

    def put(store: S3Objects, key: str, data: bytes) -> str:
        try:
            run(store.put_bytes(key, data))
        except Refused:
            return "refused"
        return "stored"

    with ThreadPoolExecutor(2) as threads:
        for number in range(30):
            key, each = f"{KEY}.{number}", {first: b"a" * 1000, second: b"b" * 1000}
            done = {store: threads.submit(put, store, key, data) for store, data in each.items()}
            told = {store: future.result() for store, future in done.items()}
            assert sorted(told.values()) == ["refused", "stored"]
            (winner,) = (store for store, word in told.items() if word == "stored")
            assert run(whole(first, key, piece=5000)) == each[winner]


def test_parts_that_an_earlier_run_left_are_removed_and_nobody_elses(ceph: S3Store) -> None:
    """After the first put of a run, unfinished uploads under our own prefix are gone, a neighbour's are not."""
    bucket = ceph.bucket()
    earlier = ceph.objects(bucket, prefix="school/")._s3()
    earlier.begin("school/alarms/left.mp4", None, "video/mp4")
    earlier.begin("school-2/alarms/theirs.mp4", None, "video/mp4")
    time.sleep(0.01)  # the store's times have milliseconds
    store = ceph.objects(bucket, prefix="school/")
    run(store.put_bytes("school/alarms/a.jpg", b"picture"))
    wait_for(
        lambda: ceph.unfinished(bucket) == ["school-2/alarms/theirs.mp4"],
        within_s=10,
        what="our own unfinished upload is gone",
    )


def test_a_store_whose_clock_is_behind_loses_no_upload_under_way(
    ceph: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock the upload began before this run: it is nevertheless not taken for one that an earlier run left."""
    bucket = ceph.bucket()
    store = ceph.objects(bucket)
    store._began_at += timedelta(minutes=9)
    beside, send_part = False, store._part

    async def part(key: str, upload: str, number: int, piece: Callable[[], bytes]) -> Part:
        nonlocal beside
        if not beside:
            assert ceph.unfinished(bucket) == [KEY]
            beside = True
            await store.put_bytes("beside.jpg", b"picture")
            await asyncio.to_thread(tidied.wait, 10)
        return await send_part(key, upload, number, piece)

    tidied, tidy = threading.Event(), store._tidy

    def tidying() -> None:
        tidy()
        tidied.set()

    monkeypatch.setattr(store, "_tidy", tidying)
    monkeypatch.setattr(store, "_part", part)
    run(store.put_bytes(KEY, LARGE))
    assert beside
    assert tidied.is_set()
    assert ceph.content(bucket) == {KEY: LARGE, "beside.jpg": b"picture"}


def test_a_put_that_breaks_off_leaves_no_parts(ceph: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were uploaded are given up with it."""
    bucket = ceph.bucket()
    store = ceph.objects(bucket)
    send_part = store._part

    async def part(key: str, upload: str, number: int, piece: Callable[[], bytes]) -> Part:
        if number > 1:
            assert ceph.unfinished(bucket) == [KEY]
            raise Unavailable("the box is being switched off")
        return await send_part(key, upload, number, piece)

    monkeypatch.setattr(store, "_part", part)
    with pytest.raises(Unavailable, match="the box is being switched off"):
        run(store.put_bytes(KEY, LARGE))
    wait_for(lambda: ceph.unfinished(bucket) == [], within_s=10, what="no parts are left")
    assert ceph.content(bucket) == {}


def test_deleting_leaves_no_version_behind(ceph: S3Store) -> None:
    """On a versioned bucket a plain delete hides an object; ours removes what there is, an earlier marker included."""
    bucket = ceph.bucket(versioned=True)
    store, client = ceph.objects(bucket), ceph.client()

    async def story() -> None:
        await store.put_bytes(KEY, b"first")
        client.remove_object(bucket, KEY)
        assert await store.size(KEY) is None
        await store.put_bytes(KEY, b"second")
        await store.put_bytes(KEY + "x", b"a neighbour whose key begins alike")
        await store.delete(KEY)

    run(story())
    left = client.list_objects(bucket, recursive=True, include_version=True)
    assert [(o.object_name, o.is_delete_marker) for o in left] == [(KEY + "x", False)]


def test_more_keys_than_fit_a_page_are_all_listed(s3: S3Store) -> None:
    """1,050 keys of ours among others."""
    bucket = s3.bucket()
    client = s3.client()
    names = [f"school/alarms/{n:04}.jpg" for n in range(1050)]

    def put(name: str) -> None:
        client._put_object(bucket, name, b"x", {})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put, [*names, "school-2/a.jpg", "another"]))
    assert run(s3.objects(bucket).keys("school/")) == names
