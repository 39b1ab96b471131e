"""What every object store keeps to: one suite, run by each implementation (see ``test_object_stores``)."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.domain.errors import Malformed, Refused, Unavailable
from gateway.domain.stored import Kept
from gateway.ports.objects import ObjectStore
from tests.support.clock import run

KEY = "school/alarms/2026/03/02/alm_1/cam-a/evd_1.mp4"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def whole(
    store: ObjectStore, key: str, start: int = 0, end: int | None = None, piece: int = 7
) -> bytes:
    """Read an object piece by piece, as the API does."""
    data = b""
    async with store.read(key, start, end) as read:
        while part := await read(piece):
            assert len(part) <= piece
            data += part
        assert await read(piece) == b""
    return data


class ObjectStoreContract:
    """Subclasses say what ``store`` is; ``source`` makes a file to be put."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        raise NotImplementedError

    @pytest.fixture
    def spool(self, tmp_path: Path) -> Path:
        folder = tmp_path / "spool"
        folder.mkdir()
        return folder

    @staticmethod
    def source(spool: Path, data: bytes, name: str = "clip.mp4") -> Path:
        path = spool / name
        path.write_bytes(data)
        return path

    def test_what_is_put_is_given_back_and_the_source_is_gone(self, store: ObjectStore, spool: Path) -> None:
        """A file goes in whole, is read back byte for byte, and is consumed."""
        data = bytes(range(256)) * 1000
        source = self.source(spool, data)

        async def story() -> None:
            await store.put(KEY, source, sha256=digest(data))
            assert await store.size(KEY) == len(data)
            assert await whole(store, KEY, piece=65536) == data

        run(story())
        assert list(spool.iterdir()) == []

    @pytest.mark.parametrize(
        ("start", "end", "wanted"),
        [
            (0, None, b"0123456789"),
            (3, None, b"3456789"),
            (3, 5, b"34"),
            (3, 3, b""),
            (8, 99, b"89"),
            (10, None, b""),
        ],
    )
    def test_a_range_is_read_from_its_start_to_its_end_exclusive(
        self, store: ObjectStore, start: int, end: int | None, wanted: bytes
    ) -> None:
        """Ranges as HTTP serves them."""

        async def story() -> None:
            await store.put_bytes(KEY, b"0123456789")
            assert await whole(store, KEY, start, end, piece=2) == wanted

        run(story())

    @pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 100_000])
    def test_bytes_of_any_size_are_kept(self, store: ObjectStore, data: bytes) -> None:
        """Nothing is not the same as not there."""

        async def story() -> None:
            assert await store.size(KEY) is None
            await store.put_bytes(KEY, data)
            assert await store.size(KEY) == len(data)
            assert await whole(store, KEY, piece=65536) == data

        run(story())

    def test_the_same_bytes_again_are_harmless(self, store: ObjectStore, spool: Path) -> None:
        """A put whose answer was lost may be repeated, by file and by bytes."""

        async def story() -> None:
            await store.put_bytes(KEY, b"same")
            await store.put_bytes(KEY, b"same")
            await store.put(KEY, self.source(spool, b"same"), sha256=digest(b"same"))
            assert await whole(store, KEY) == b"same"

        run(story())
        assert list(spool.iterdir()) == []

    def test_other_bytes_are_refused_and_the_first_stay(self, store: ObjectStore, spool: Path) -> None:
        """An object is never altered, and what could not be put is still there to be looked at."""
        source = self.source(spool, b"second")

        async def story() -> None:
            await store.put_bytes(KEY, b"first")
            with pytest.raises(Refused):
                await store.put_bytes(KEY, b"second")
            with pytest.raises(Refused):
                await store.put(KEY, source, sha256=digest(b"second"))
            assert await whole(store, KEY) == b"first"

        run(story())
        assert source.read_bytes() == b"second"

    def test_a_large_file_goes_in_and_comes_out_in_ranges(self, store: ObjectStore, spool: Path) -> None:
        """Larger than one part of a store that takes parts: stored once, again harmlessly, and read from its middle."""
        data = bytes(range(256)) * 43_000  # 11 MB: two parts and a rest

        async def story() -> None:
            for _ in range(2):
                await store.put(KEY, self.source(spool, data), sha256=digest(data))
            assert await store.size(KEY) == len(data)
            assert await whole(store, KEY, piece=1 << 20) == data
            assert await whole(store, KEY, 5_242_870, 5_242_890, piece=7) == data[5_242_870:5_242_890]
            other = data[:-1] + b"x"
            with pytest.raises(Refused):
                await store.put(KEY, self.source(spool, other), sha256=digest(other))

        run(story())

    def test_a_source_that_is_not_there_is_refused(self, store: ObjectStore, spool: Path) -> None:
        """Trying again would not bring it back, so it is not called unavailable."""

        async def story() -> None:
            with pytest.raises(Refused):
                await store.put(KEY, spool / "never", sha256=digest(b""))
            assert await store.size(KEY) is None

        run(story())

    @pytest.mark.parametrize(
        "key",
        [
            *(
                "",
                "/",
                "/absolute",
                "a//b",
                "a/",
                "../escape",
                "a/../b",
                ".hidden",
                "a/.part-1",
                "a b",
                "a\\b",
                "a\nb",
            ),
            *("镜头/a", "a\x00b", "\ud800", "a/b?c", "a:b", "x" * 201, "/".join(["y" * 100] * 10)),
        ],
    )
    def test_an_illegal_key_is_refused_everywhere(self, store: ObjectStore, spool: Path, key: str) -> None:
        """Nothing outside the store can be named, in any call, and nothing is consumed."""
        source = self.source(spool, b"x")

        async def story() -> None:
            with pytest.raises(Malformed):
                await store.put_bytes(key, b"x")
            with pytest.raises(Malformed):
                await store.put(key, source, sha256=digest(b"x"))
            with pytest.raises(Malformed):
                await store.size(key)
            with pytest.raises(Malformed):
                await store.delete(key)
            with pytest.raises(Malformed):
                await whole(store, key)
            assert await store.keys("") == []

        run(story())
        assert source.exists()

    def test_what_is_not_there_is_said_plainly(self, store: ObjectStore) -> None:
        """No size, no reading; deleting what is not there is success."""

        async def story() -> None:
            assert await store.size(KEY) is None
            with pytest.raises(Unavailable):
                await whole(store, KEY)
            await store.delete(KEY)

        run(story())

    def test_a_deleted_object_is_gone_and_its_key_is_free(self, store: ObjectStore) -> None:
        """After deletion other bytes may take the key."""

        async def story() -> None:
            await store.put_bytes(KEY, b"first")
            await store.delete(KEY)
            assert await store.size(KEY) is None
            assert await store.keys("") == []
            await store.put_bytes(KEY, b"second")
            assert await whole(store, KEY) == b"second"

        run(story())

    def test_keys_are_listed_by_prefix_and_sorted(self, store: ObjectStore) -> None:
        """A prefix is a beginning of the text, not a folder."""

        async def story() -> None:
            names = ["a/b/2", "a/b/10", "a/bc/1", "b/1"]
            for name in names:
                await store.put_bytes(name, name.encode())
            assert await store.keys("") == sorted(names)
            assert await store.keys("a/b") == ["a/b/10", "a/b/2", "a/bc/1"]
            assert await store.keys("a/b/") == ["a/b/10", "a/b/2"]
            assert await store.keys("c") == []

        run(story())

    def test_an_audit_lists_by_the_bytes_of_the_keys(self, store: ObjectStore) -> None:
        """In one order everywhere, so that two lists can be held against each other without having either in memory."""
        keys = ["a-1/x", "a/b-1.mp4", "a/b.mp4", "a/b/c", "a/z", "ab/c"]

        async def story() -> None:
            for key in reversed(keys):
                await store.put_bytes(key, key.encode())
            listed = [(v.key, v.bytes) async for page in store.versions("") for v in page]
            assert listed == [(key, len(key.encode())) for key in sorted(keys)]
            listed = [(v.key, v.bytes) async for page in store.versions("a/b") for v in page]
            assert [key for key, _ in listed] == ["a/b-1.mp4", "a/b.mp4", "a/b/c"]

        run(story())

    def test_concurrent_puts_of_one_key_leave_one_object_whole(self, store: ObjectStore) -> None:
        """Of twenty different puts one wins, nineteen are refused, and the winner is whole."""
        many = [bytes([n]) * 50_000 for n in range(20)]

        async def story() -> None:
            done = await asyncio.gather(*(store.put_bytes(KEY, d) for d in many), return_exceptions=True)
            assert sorted(type(d).__name__ for d in done) == ["Kept"] + ["Refused"] * 19
            assert (
                await whole(store, KEY, piece=65536)
                == many[next(n for n, d in enumerate(done) if isinstance(d, Kept))]
            )
            assert await store.keys("") == [KEY]

        run(story())

    def test_concurrent_puts_of_the_same_bytes_all_succeed(self, store: ObjectStore) -> None:
        """Two who store the same need not know of each other."""

        async def story() -> None:
            await asyncio.gather(*(store.put_bytes(KEY, b"same") for _ in range(10)))
            assert await store.keys("") == [KEY]

        run(story())

    def test_what_is_put_lies_there_once_and_is_told_so(self, store: ObjectStore, spool: Path) -> None:
        """What a put returns is what is known of the object afterwards, and an audit finds one version of it, not hidden."""

        async def story() -> None:
            put = await store.put(KEY, self.source(spool, b"data"), sha256=digest(b"data"))
            assert await store.put_bytes(KEY, b"data") == put
            await store.put_bytes(KEY + "x", b"a neighbour")
            assert await store.kept(KEY) == put
            assert await store.kept(KEY, put.version) == put
            assert await store.kept("nothing/here") is None
            (found,) = [v async for page in store.versions(KEY) for v in page if v.key == KEY]
            assert (found.version, found.bytes, found.newest, found.hides) == (put.version, 4, True, False)
            listed = [v.key async for page in store.versions("") for v in page]
            assert listed == [KEY, KEY + "x"]
            assert [v async for page in store.versions("no/") for v in page] == []

        run(story())

    def test_a_version_is_deleted_by_its_name(self, store: ObjectStore) -> None:
        """One version goes for good, again harmlessly, and nothing hides in its place."""

        async def story() -> None:
            kept = await store.put_bytes(KEY, b"data")
            for _ in range(2):
                await store.delete_version(KEY, kept.version)
            assert await store.size(KEY) is None
            assert [v async for page in store.versions("") for v in page] == []

        run(story())

    def test_a_lock_asked_for_is_kept_or_said_to_be_none(self, store: ObjectStore, spool: Path) -> None:
        """Where the store cannot lock, everything works as without, and nothing claims a lock."""
        later = datetime.now(UTC) + timedelta(hours=2)

        async def story() -> None:
            assert not (await store.prove_lock()).holds
            assert (await store.prove_lock()).cause
            kept = await store.put(
                KEY, self.source(spool, b"data"), sha256=digest(b"data"), locked_until=later
            )
            assert kept.locked_until is None
            assert (await store.lock(KEY, later)).locked_until is None
            assert await whole(store, KEY) == b"data"
            with pytest.raises(Refused):
                await store.lock("nothing/here", later)
            await store.delete(KEY)
            assert await store.size(KEY) is None
            assert [v.key async for page in store.versions("") for v in page] == []

        run(story())

    def test_the_check_leaves_nothing_behind(self, store: ObjectStore) -> None:
        """Proving that the store works does not fill it."""

        async def story() -> None:
            await store.check()
            assert await store.keys("") == []

        run(story())
