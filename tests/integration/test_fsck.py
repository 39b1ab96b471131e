"""``campus-gateway fsck`` on real data: what was done to an object, a row or a line of the register is found, and named."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.recording import Segment
from gateway.domain.register import Act, RegisterLine, Who
from storage.objects.local import LocalObjects
from tests.support import odd_streams
from tests.support.clock import run
from tests.support.footage import recorded
from tests.support.processes import run_gateway, site_yaml
from tests.support.samples import film_of
from tests.support.stores import opened, overwrite

SITE = "jms-no3-middle"
CAMERA = "cam-a"
GUARD = Who(name="王五", unit="门卫", right="guard")


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, list[Segment]]:
    """A school's data with ten minutes of one camera and three lines of its register; the site file beside it."""
    (tmp_path / "site.yaml").write_text(
        site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1", site=SITE), encoding="utf-8"
    )
    data = tmp_path / "data"
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=12)

    async def fill() -> list[Segment]:
        data.mkdir()
        async with opened(data) as store:
            objects = LocalObjects(data / "objects")
            segments = await recorded(store, objects, CAMERA, begin, 11)
            for n in range(3):
                line = RegisterLine(at=begin, act=Act.VIEWED, who=GUARD, content=f"evd_{n}")
                await store.write(lambda tx, line=line: tx.register.append(line))  # type: ignore[misc]
            return segments

    return tmp_path, run(fill())


def fsck(folder: Path, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """The command as a user types it: its exit code and findings."""
    done: subprocess.CompletedProcess[str] = run_gateway(
        "fsck", "--config", str(folder / "site.yaml"), "--data-dir", str(folder / "data"), "--json", *words
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done.returncode, lines[:-1], done.stderr


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def on_the_database(statement: str, *values: object) -> Callable[[Path, Segment], None]:
    def work(folder: Path, segment: Segment) -> None:
        named = [segment.id if value is Segment else value for value in values]
        with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
            assert raw.execute(statement, named).rowcount == 1
            raw.commit()

    return work


DEEDS: dict[str, tuple[Callable[[Path, Segment], object], int, str, str, str]] = {
    # what is done: how, exit code, check, what is found, how it is named
    "a byte of an object": (
        lambda folder, one: altered(folder / "data" / "objects" / one.key),
        2,
        "hashes",
        "the object is altered",
        "KEY",
    ),
    "an object removed": (
        lambda folder, one: (folder / "data" / "objects" / one.key).unlink(),
        2,
        "recordings",
        "the object is missing",
        "KEY",
    ),
    "a row of the ledger": (
        on_the_database("delete from segment where id = ?", Segment),
        2,
        "minutes",
        "neither recorded nor explained",
        CAMERA,
    ),
    "a line of the register taken out": (
        on_the_database("delete from register where n = 2"),
        2,
        "register",
        "lines of the register are missing",
        "2",
    ),
    "the last line of the register": (
        on_the_database("delete from register where n = 3"),
        2,
        "register",
        "lines of the register are missing",
        "the end",
    ),
    "a line of the register altered": (
        on_the_database("update register set body = replace(cast(body as text), '王五', '赵六') where n = 2"),
        2,
        "register",
        "a line of the register is altered",
        "2",
    ),
    "an object nobody knows of": (
        lambda folder, one: (
            (folder / "data" / "objects" / one.key).with_name("235959Z.mp4").write_bytes(b"x")
        ),
        1,
        "recordings",
        "an object that is in no ledger",
        "235959Z.mp4",
    ),
}


def test_sound_data_is_said_to_be(kept: tuple[Path, list[Segment]]) -> None:
    """Exit 0 and no finding, with and without the bytes read."""
    folder, _ = kept
    for words in ((), ("--hashes",)):
        code, found, told = fsck(folder, *words)
        assert (code, found) == (0, []), (found, told)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_done_is_found_and_named(kept: tuple[Path, list[Segment]], deed: str) -> None:
    """By its object, camera or number, and by the exit code of the worst."""
    folder, segments = kept
    do, code, check, what, about = DEEDS[deed]
    victim = segments[4]
    do(folder, victim)
    found_code, found, told = fsck(folder, *(["--hashes"] if check == "hashes" else []))
    assert found_code == code, (found, told)
    named = [each["about"] for each in found if (each["check"], each["what"]) == (check, what)]
    expected = victim.key if about == "KEY" else about
    assert any(name.endswith(expected) for name in named), found


def test_a_signed_line_that_was_altered_with_its_hash_shows_by_the_root(
    kept: tuple[Path, list[Segment]],
) -> None:
    """Somebody who knows how puts the right hash beside the altered line: the tree that was signed is another one."""
    folder, _ = kept
    from gateway.domain.merkle import leaf_hash

    with closing(sqlite3.connect(folder / "data" / "gateway.db")) as raw:
        (body,) = raw.execute("select body from register where n = 2").fetchone()
        body = bytes(body).replace("王五".encode(), "赵六".encode())
        raw.execute("update register set body = ?, leaf = ? where n = 2", (body, leaf_hash(body)))
        raw.commit()
    code, found, _ = fsck(folder)
    assert (code, [each["what"] for each in found]) == (
        2,
        ["the register is not the one whose head was signed"],
    )


def test_what_cannot_be_checked_is_said(tmp_path: Path) -> None:
    """No database: exit 3, and nothing is made."""
    (tmp_path / "site.yaml").write_text(
        site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1"), encoding="utf-8"
    )
    done = run_gateway("fsck", "--config", str(tmp_path / "site.yaml"), "--data-dir", str(tmp_path / "none"))
    assert (done.returncode, "there is no database" in done.stderr) == (3, True)
    assert not (tmp_path / "none" / "gateway.db").exists()


def _words(folder: Path, *words: str) -> str:
    done = run_gateway(
        "fsck", "--config", str(folder / "site.yaml"), "--data-dir", str(folder / "data"), *words
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_that_reads_no_bytes_says_so_and_when_all_were_last_read(
    kept: tuple[Path, list[Segment]],
) -> None:
    """Never; then at the time of the last run that read all, in the school's time. What it found does not hide that."""
    folder, segments = kept
    assert "no bytes were read 未读取内容: they have never all been read" in _words(folder)
    begin = datetime.now(UTC).astimezone(ZoneInfo("Asia/Shanghai")).replace(second=0, microsecond=0)
    assert "no bytes were read" not in _words(folder, "--hashes")
    told = re.search(r"all were last read (.{16}) \(0\.0 GB\); --hashes reads them", _words(folder))
    assert told is not None
    read_at = datetime.strptime(told[1], "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert timedelta() <= read_at - begin < timedelta(minutes=10)
    altered(folder / "data" / "objects" / segments[3].key)
    assert fsck(folder, "--hashes")[0] == 2
    assert "1 altered or unreadable" in _words(folder)


@pytest.mark.parametrize("reading", [b"", b"{}", b"[1]", b'{"at": "now", "bytes": 1, "altered": 0}', b"\xff"])
def test_a_spoiled_record_of_the_last_reading_counts_as_none(
    kept: tuple[Path, list[Segment]], reading: bytes
) -> None:
    """Never read is said rather than anything that cannot be relied on."""
    folder, _ = kept
    (folder / "data" / "fsck-hashes.json").write_bytes(reading)
    assert "they have never all been read" in _words(folder)


@pytest.mark.parametrize("place", ["an empty folder", "no folder", "a new disk's lost+found"])
def test_an_unmarked_empty_folder_is_not_taken_for_a_store_whose_objects_are_lost(
    kept: tuple[Path, list[Segment]], place: str
) -> None:
    """The disk is not mounted, or another place is named: it cannot be checked (3), and no object is called lost."""
    folder, _ = kept
    objects = folder / "data" / "objects"
    assert not (folder / "data" / "objects.mark").exists()
    objects.rename(folder / "elsewhere")
    if place != "no folder":
        objects.mkdir()
    if place == "a new disk's lost+found":
        (objects / "lost+found").mkdir(mode=0o700)
    done = run_gateway(
        "fsck", "--config", str(folder / "site.yaml"), "--data-dir", str(folder / "data"), "--json"
    )
    assert (done.returncode, done.stdout) == (3, ""), done.stdout
    assert f"{objects} is empty and was never marked" in done.stderr
    assert "is its disk mounted" in done.stderr


def test_films_that_earlier_versions_spoiled_are_named(kept: tuple[Path, list[Segment]]) -> None:
    """Two pictures in one sample, as cameras with messages behind their pictures were recorded: suspicious, and only where bytes
    are read; a film as it should be is not named."""
    folder, segments = kept
    pictures = odd_streams.odd("h264")["messages before and behind every picture"]
    doubled = [[*pictures[n], *pictures[n + 1]] for n in range(0, len(pictures), 2)]
    films = [film_of("h264", samples, marked=True) for samples in (doubled, pictures)]

    for one, film in zip(segments, films, strict=False):
        assert one.key is not None
        overwrite(folder / "data" / "objects" / one.key, film)
        digest = hashlib.sha256(film).hexdigest()
        on_the_database("update segment set bytes = ?, sha256 = ? where id = ?", len(film), digest, Segment)(
            folder, one
        )
    code, found, _ = fsck(folder, "--hashes")
    named = [each for each in found if each["what"] == "its pictures are not as they should be"]
    assert [(each["about"], each["grade"]) for each in named] == [(segments[0].key, "suspicious")]
    assert named[0]["detail"].startswith("18 of 18 samples have two pictures or more")
    assert code == 1
    assert not [each for each in fsck(folder)[1] if each["what"].startswith("its pictures")]
