"""Every object store runs the one suite; what only files can do is below."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.domain.errors import Refused, Unavailable
from gateway.ports import ObjectStore
from storage.objects.local import LocalObjects
from storage.objects.memory import MemoryObjects
from tests.contract.object_store import KEY, ObjectStoreContract, digest, whole
from tests.support.clock import run
from tests.support.s3_stores import Rclone, S3Store, any_s3


class TestMemoryObjects(ObjectStoreContract):
    """In memory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return MemoryObjects()


class TestLocalObjects(ObjectStoreContract):
    """In files, with a place that is not made yet."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        store = LocalObjects(tmp_path / "not made" / "objects")
        run(store.start())
        return store


@pytest.fixture(scope="module")
def rclone() -> Iterator[Rclone]:
    """The light store, once for this module; each test takes a bucket of its own."""
    with any_s3() as store:
        yield store


class TestRcloneS3(ObjectStoreContract):
    """``rclone serve s3``: a store that knows neither If-None-Match nor versions nor locks."""

    @pytest.fixture
    def store(self, rclone: Rclone) -> ObjectStore:
        return rclone.objects(rclone.bucket())


class TestCephS3(ObjectStoreContract):
    """Ceph RGW."""

    @pytest.fixture
    def store(self, ceph: S3Store) -> ObjectStore:
        return ceph.objects(ceph.bucket())


class TestCephS3Versioned(ObjectStoreContract):
    """Ceph RGW with a bucket that keeps every version, as one with object lock does."""

    @pytest.fixture
    def store(self, ceph: S3Store) -> ObjectStore:
        return ceph.objects(ceph.bucket(versioned=True))


def test_an_object_is_a_plain_file_at_its_key(tmp_path: Path) -> None:
    """A `file:` store keeps an object at DIR/key, and nothing else beside it."""
    store = LocalObjects(tmp_path / "objects")

    async def story() -> None:
        await store.start()
        await store.put_bytes(KEY, b"data")

    run(story())
    assert (tmp_path / "objects" / KEY).read_bytes() == b"data"
    assert [p for p in (tmp_path / "objects").rglob("*") if p.is_file()] == [tmp_path / "objects" / KEY]


def test_what_a_crash_left_half_written_is_removed_and_never_listed(tmp_path: Path) -> None:
    """A temporary file is no object; the next start clears it."""
    root = tmp_path / "objects"
    store = LocalObjects(root)
    torn = root / Path(KEY).parent / ".part-0123456789abcdef"

    async def story() -> None:
        await store.start()
        await store.put_bytes(KEY, b"whole")
        torn.write_bytes(b"ha")
        assert await store.keys("") == [KEY]
        await LocalObjects(root).start()
        assert not torn.exists()
        assert await whole(store, KEY) == b"whole"

    run(story())


def test_leftovers_of_puts_that_died_are_told_and_removed_by_name(tmp_path: Path) -> None:
    """Nothing else can be removed that way, and an object of a similar name is none."""
    root = tmp_path / "objects"
    store = LocalObjects(root)
    torn = Path(KEY).parent / ".part-0123456789abcdef"

    async def story() -> None:
        await store.start()
        await store.put_bytes(KEY, b"whole")
        assert await store.leftovers() == []
        (root / torn).write_bytes(b"ha")
        assert await store.leftovers() == [torn.as_posix()]
        with pytest.raises(Refused):
            await store.discard(KEY)
        for _ in range(2):
            await store.discard(torn.as_posix())
        assert await store.leftovers() == []
        assert await store.keys("") == [KEY]

    run(story())


def test_a_put_that_fails_leaves_its_source_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses at the last step: the bytes are still in the spool, the store as it was, and trying again works."""
    root, source = tmp_path / "objects", tmp_path / "clip.mp4"
    source.write_bytes(b"the only copy")
    store = LocalObjects(root)
    link = os.link

    def full(this: Path, that: Path) -> None:
        if that.name.startswith(".part-"):
            link(this, that)
        else:
            raise OSError(28, "No space left on device")

    async def story() -> None:
        await store.start()
        monkeypatch.setattr(os, "link", full)
        with pytest.raises(Unavailable, match="No space left"):
            await store.put(KEY, source, sha256=digest(b"the only copy"))
        assert source.read_bytes() == b"the only copy"
        assert [p for p in root.rglob("*") if p.is_file()] == []
        monkeypatch.setattr(os, "link", link)
        await store.put(KEY, source, sha256=digest(b"the only copy"))
        assert await whole(store, KEY) == b"the only copy"
        assert not source.exists()

    run(story())


def test_a_spool_on_another_file_system_is_copied(tmp_path: Path) -> None:
    """Where a file cannot be moved it is copied, and the source is gone only after that."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev or not os.access(shm, os.W_OK):
        pytest.skip("no second file system to write to")
    source = shm / f"campus-test-{os.getpid()}.mp4"
    source.write_bytes(b"far away")
    store = LocalObjects(tmp_path / "objects")

    async def story() -> None:
        await store.start()
        await store.put_bytes("other", b"first")
        with pytest.raises(Refused):
            await store.put("other", source, sha256=digest(b"far away"))
        assert source.exists()
        await store.put(KEY, source, sha256=digest(b"far away"))
        assert await whole(store, KEY) == b"far away"

    try:
        run(story())
        assert not source.exists()
    finally:
        source.unlink(missing_ok=True)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Where a file stands in the way of the store's folder, the caller may try again and learns why."""
    (tmp_path / "objects").write_bytes(b"in the way")
    store = LocalObjects(tmp_path / "objects")

    async def story() -> None:
        with pytest.raises(Unavailable):
            await store.start()
        with pytest.raises(Unavailable):
            await store.put_bytes(KEY, b"x")
        with pytest.raises(Unavailable):
            await store.check()
        assert await store.size(KEY) is None

    run(story())


def test_an_empty_mount_point_is_no_store_that_lost_its_objects(tmp_path: Path) -> None:
    """While the disk is away nothing is missing, deleted, listed as none, or written below; back again all is as it was."""
    root, away, source = tmp_path / "objects", tmp_path / "away", tmp_path / "spooled"
    source.write_bytes(b"waits")

    async def story() -> None:
        store = LocalObjects(root, known=tmp_path / "objects.mark")
        await store.start()
        await store.put_bytes(KEY, b"kept")
        assert await store.keys("") == [KEY]
        root.rename(away)
        for gone in ("nothing", "an empty folder"):
            if gone != "nothing":
                root.mkdir()
            again = LocalObjects(root, known=tmp_path / "objects.mark")
            refused: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: store.size(KEY),
                lambda: store.delete(KEY),
                lambda: store.keys(""),
                lambda: store.put_bytes("other", b"x"),
                lambda: store.put("other", source, sha256=digest(b"waits")),
            )
            for call in refused:
                with pytest.raises(Unavailable, match="mounted"):
                    await call()
            assert not root.exists() or list(root.iterdir()) == []
        with pytest.raises(Unavailable, match="mounted"):
            await again.start()
        root.rmdir()
        away.rename(root)
        await again.start()
        assert await whole(again, KEY) == b"kept"
        assert source.read_bytes() == b"waits"
        await again.delete(KEY)
        assert await again.keys("") == []

    run(story())
