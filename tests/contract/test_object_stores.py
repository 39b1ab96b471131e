"""Every object store runs the one suite; what only files can do is below."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.domain.errors import Refused, Unavailable
from gateway.ports.objects import ObjectStore
from storage.objects.local import MARK, LocalObjects
from tests.contract.object_store import KEY, ObjectStoreContract, digest, whole
from tests.support.clock import run
from tests.support.memory_objects import MemoryObjects
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


@pytest.mark.parametrize("folder", ["is empty", "is not there"])
def test_an_empty_mount_point_is_not_marked_while_objects_are_on_record(tmp_path: Path, folder: str) -> None:
    """The first start of a version that marks stores, before the disk is mounted: nothing counts as gone and nothing is written
    there; once it is mounted, the same store is taken up with all it has."""
    root, disk = tmp_path / "objects", tmp_path / "disk"

    async def story() -> None:
        await LocalObjects(disk).put_bytes(KEY, b"kept")
        if folder == "is empty":
            root.mkdir()
        asked = []

        async def on_record() -> bool:
            asked.append(KEY)
            return True

        store = LocalObjects(root, known=tmp_path / "objects.mark", on_record=on_record)
        with pytest.raises(Unavailable, match="not taken up"):
            await store.put_bytes("early", b"x")
        for _ in range(2):
            with pytest.raises(Unavailable, match="empty, and objects are on record"):
                await store.start()
            calls: tuple[Callable[[], Awaitable[object]], ...] = (
                lambda: store.size(KEY),
                lambda: store.delete(KEY),
                lambda: store.keys(""),
                lambda: store.put_bytes("other", b"x"),
            )
            for call in calls:
                with pytest.raises(Unavailable, match="mounted"):
                    await call()
            assert not root.exists() or list(root.iterdir()) == []
        if folder == "is empty":
            root.rmdir()
        disk.rename(root)
        await store.start()
        assert asked
        assert await whole(store, KEY) == b"kept"
        assert await store.keys("") == [KEY]

    run(story())


def test_a_store_that_is_empty_on_purpose_is_taken_up(tmp_path: Path) -> None:
    """A new one, of which nothing is on record; and one that somebody made the file in which the refusal names."""

    async def story() -> None:
        for known, on_record in (("new.mark", False), ("emptied.mark", True)):
            root = tmp_path / known.removesuffix(".mark")

            async def answer(on_record: bool = on_record) -> bool:
                return on_record

            store = LocalObjects(root, known=tmp_path / known, on_record=answer)
            if on_record:
                root.mkdir()
                (root / MARK).touch()
            await store.start()
            await store.put_bytes(KEY, b"first")
            assert (root / MARK).read_bytes() == (tmp_path / known).read_bytes() != b""
            assert await store.keys("") == [KEY]

    run(story())


def test_another_store_is_taken_up_where_what_is_remembered_is_removed(tmp_path: Path) -> None:
    """As the refusal says: also after a mount point was marked, and its disk came without a mark."""
    root, disk = tmp_path / "objects", tmp_path / "disk"
    known = tmp_path / "objects.mark"

    async def on_record() -> bool:
        return True

    async def story() -> None:
        await LocalObjects(disk).put_bytes(KEY, b"kept")
        await LocalObjects(root, known=known).start()
        root.rename(tmp_path / "below")
        disk.rename(root)
        store = LocalObjects(root, known=known, on_record=on_record)
        with pytest.raises(Unavailable, match=f"remove the file {known}"):
            await store.start()
        known.unlink()
        await store.start()
        assert await whole(store, KEY) == b"kept"

    run(story())
