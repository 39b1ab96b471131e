"""Exports: one archive of a span, whose every part anybody can check offline, with nothing of ours but one file."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import pytest

from gateway.app.commands.main import main
from gateway.domain.recording import Gap, GapCause, Segment, segment_key
from gateway.recording import spool_room
from storage.sql.transaction import SqlTransaction
from tests.support.http_face import OTHER, Answer, Face, on_face
from tests.support.processes import tool
from tests.support.signals import wait_until
from tests.support.stores import overwrite

VERIFIER = Path(__file__).parents[2] / "verifier" / "verify_export.py"
TEN = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
SECONDS, RATE = 4, 25


def film(path: Path, codec: str = "libx264", size: str = "320x180", number: int = 0) -> bytes:
    """A recording of four seconds with a key frame each second, and sound."""
    ffmpeg = tool("ffmpeg", "ffmpeg")
    subprocess.run(
        [
            *(ffmpeg, "-v", "error", "-y"),
            *("-f", "lavfi", "-i", f"testsrc=size={size}:rate={RATE}:duration={SECONDS},hue=h={30 * number}"),
            *("-f", "lavfi", "-i", f"sine=frequency={400 + 50 * number}:duration={SECONDS}"),
            *("-c:v", codec, "-pix_fmt", "yuv420p", "-g", str(RATE), "-c:a", "aac", "-ac", "1"),
            *(["-x265-params", "log-level=none"] if codec == "libx265" else []),
            *("-movflags", "frag_keyframe+empty_moov+default_base_moof", str(path)),
        ],
        check=True,
        timeout=60,
    )
    return path.read_bytes()


async def recorded(face: Face, at_s: float, data: bytes) -> Segment:
    """Keep a recording as the gateway does: object first, row second."""
    start = TEN + timedelta(seconds=at_s)
    segment = Segment(
        id=f"seg_{at_s}",
        camera=OTHER,
        start=start,
        end=start + timedelta(seconds=SECONDS),
        frames=SECONDS * RATE,
        bytes=len(data),
        key=segment_key(face.parts.site.id, OTHER, start),
        sha256=hashlib.sha256(data).hexdigest(),
        stored_at=start + timedelta(seconds=SECONDS),
    )
    await face.objects.put_bytes(segment.key, data)
    await face.store.write(lambda tx: tx.recordings.add(segment))
    return segment


async def take(face: Face, begin_s: float, end_s: float, *, role: str = "technician", **more: str) -> Answer:
    span = {"from": TEN + timedelta(seconds=begin_s), "to": TEN + timedelta(seconds=end_s)}
    params = {**{k: v.isoformat() for k, v in span.items()}, "reason": "案件 2026-17", **more}
    return await face.ask(f"/api/v1/cameras/{OTHER}/export", role=role, params=params)


def verify(bundle: Path, *words: str) -> tuple[int, str]:
    """The stand-alone verifier as a stranger runs it: one file, another folder, none of our packages."""
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(bundle), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=bundle.parent,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("json_words", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    "stub",
    {
        "missing": "raise ModuleNotFoundError('No module named cryptography')",
        "built for another Python": "raise ImportError('undefined symbol: PyInit__rust')",
        "older than Ed25519": "",
    }.items(),
    ids=lambda stub: stub[0],
)
def test_a_verifier_without_its_library_says_so_and_ends_with_3(
    tmp_path: Path, stub: tuple[str, str], json_words: tuple[str, ...]
) -> None:
    """Not proved, and not "altered": it names the package and how to bring it, with no traceback."""
    package = tmp_path / "here" / "cryptography"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(stub[1], "utf-8")
    bundle = tmp_path / "export"
    bundle.mkdir()
    manifest = {"format": "campus-gateway export v1", "key": base64.b64encode(bytes(32)).decode()}
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    (bundle / "manifest.sig").write_text(base64.b64encode(bytes(64)).decode(), "ascii")
    done = subprocess.run(
        [sys.executable, str(VERIFIER), str(bundle), *json_words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(package.parent), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert "pip install cryptography" in done.stderr
    if json_words:
        assert json.loads(done.stdout)["exit"] == 3


def fingerprint(face: Face) -> str:
    return hashlib.sha256(face.parts.exporting._signer.public).hexdigest()


async def three(face: Face, folder: Path) -> list[Segment]:
    """Two recordings end to end, a pause of four seconds with its cause, and a third."""
    face.clock.at = TEN + timedelta(hours=1)
    gap = Gap(
        id="gap_1",
        camera=OTHER,
        start=TEN + timedelta(seconds=8),
        end=TEN + timedelta(seconds=12),
        cause=GapCause.NETWORK,
        detail="no route",
    )
    await face.store.write(lambda tx: tx.recordings.open_gap(gap))
    return [
        await recorded(face, at_s, film(folder / f"{at_s}.mp4", number=n))
        for n, at_s in enumerate((0, 4, 12))
    ]


@on_face
async def test_a_span_over_recordings_and_a_gap_is_one_film_that_anybody_can_check(face: Face) -> None:
    """The pictures and sounds are those that were recorded, byte for byte; the pause keeps its length and is a chapter;
    the verifier is content, and says by which key."""
    folder = face.directory
    segments = await three(face, folder)
    answer = await take(face, 0, 16)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    bundle = folder / "export.zip"
    bundle.write_bytes(answer.body)
    with zipfile.ZipFile(bundle) as archive:
        assert sorted(archive.namelist()) == ["README.txt", "export-1.mp4", "manifest.json", "manifest.sig"]
        manifest = json.loads(archive.read("manifest.json"))
        whole = archive.read("export-1.mp4")
    assert [part["object"] for part in manifest["parts"]] == [one.key for one in segments]
    (gap,) = manifest["gaps"]
    assert (gap["cause"], gap["detail"]) == ("network", "no route")
    assert (manifest["by"]["unit"], manifest["reason"]) == ("某单位", "案件 2026-17")

    recorded_bytes: dict[str, list[bytes]] = {"video": [], "audio": []}
    for one in segments:
        with av.open(str(folder / "objects" / one.key)) as source:
            every = [p for p in source.demux(source.streams.video[0], source.streams.audio[0]) if p.size]
            begins = min(p.pts * p.time_base for p in every if p.stream.type == "video")
            for packet in every:
                if packet.pts * packet.time_base >= begins:  # sound before the first picture is none of it
                    recorded_bytes[packet.stream.type].append(bytes(packet))
    with av.open(io.BytesIO(whole)) as source:
        found: dict[str, list[bytes]] = {"video": [], "audio": []}
        times: list[float] = []
        for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
            if packet.size:
                found[packet.stream.type].append(bytes(packet))
                if packet.stream.type == "video":
                    times.append(float(packet.pts * packet.time_base))
        chapters = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in source.chapters()]
    assert found == recorded_bytes
    times.sort()
    assert max(b - a for a, b in itertools.pairwise(times)) == pytest.approx(4 + 1 / RATE, abs=0.01)
    assert [(float(at), title.split()[0]) for at, title in chapters] == [
        (0, "recorded"),
        (8, "missing"),
        (12, "recorded"),
    ]
    code, said = verify(bundle, "--key", fingerprint(face), "--objects", str(folder / "objects"))
    assert code == 0, said
    assert verify(bundle)[0] == 3, "sound, but by whose key?"
    assert main(["verify", str(bundle), "--key", fingerprint(face)]) == 0
    assert verify(bundle, "--key", "0" * 64)[0] == 1
    key = base64.b64encode(face.parts.exporting._signer.public).decode()
    (folder / "box.key").write_text(key)
    assert verify(bundle, "--key", str(folder / "box.key"))[0] == 0
    await wait_until(lambda: not list((folder / "exports").iterdir()), 10, "what was given out is removed")


def _flip(data: bytearray, at: int) -> None:
    data[at] ^= 1


def _in_second_part(files: dict[str, bytearray]) -> None:
    """One bit of one picture of the second recording."""
    with av.open(io.BytesIO(bytes(files["export-1.mp4"]))) as source:
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        _flip(files["export-1.mp4"], packets[RATE * SECONDS + 5].pos + 20)


def _manifest(files: dict[str, bytearray], change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(files["manifest.json"])
    change(document)
    files["manifest.json"][:] = json.dumps(document).encode()


ALTERATIONS: dict[str, tuple[Callable[[dict[str, bytearray]], object], str]] = {
    "a picture": (_in_second_part, "the pictures 画面 of 2026-03-02T02:00:04.000+00:00"),
    "the reason": (
        lambda files: _manifest(files, lambda m: m.update(reason="另一事由")),
        "the signature is not of this text",
    ),
    "a gap left out": (
        lambda files: _manifest(files, lambda m: m["gaps"].clear()),
        "neither a recording nor a gap is told of",
    ),
    "a file left out": (lambda files: files.pop("export-1.mp4"), "export-1.mp4: missing"),
    "a file added": (
        lambda files: files.update({"more.mp4": bytearray(b"x")}),
        "more.mp4: not in the manifest",
    ),
    "the signature": (
        lambda files: files["manifest.sig"].__setitem__(slice(0, 4), b"AAAA"),
        "the signature is not of this text",
    ),
    "the file cut short": (
        lambda files: files["export-1.mp4"].__delitem__(slice(-100, None)),
        "export-1.mp4",
    ),
}


@on_face
async def test_whatever_is_altered_is_found_and_named(face: Face) -> None:
    """A bit of a picture is told to the recording it lies in; text, files and signature by their names."""
    folder = face.directory
    await three(face, folder)
    whole = io.BytesIO((await take(face, 0, 16)).body)
    with zipfile.ZipFile(whole) as archive:
        sound = {name: archive.read(name) for name in archive.namelist()}
    for what, (alter, told) in ALTERATIONS.items():
        files = {name: bytearray(data) for name, data in sound.items()}
        alter(files)
        altered = folder / "altered"
        shutil.rmtree(altered, ignore_errors=True)
        altered.mkdir()
        for name, data in files.items():
            (altered / name).write_bytes(data)
        code, said = verify(altered, "--key", fingerprint(face))
        assert (code, told in said) == (1, True), (what, said)
    for name, data in sound.items():
        (altered / name).write_bytes(data)
    (altered / "more.mp4").unlink(missing_ok=True)
    assert verify(altered, "--key", fingerprint(face))[0] == 0
    (altered / "manifest.json").write_bytes(b"{}")
    assert verify(altered)[0] == 2


@on_face
async def test_an_object_that_is_not_what_was_recorded_is_left_out_and_said(face: Face) -> None:
    """One altered byte in the store, one object that is gone: the rest is exported, both are gaps by name, nothing is hidden."""
    segments = await three(face, face.directory)
    place = face.directory / "objects" / segments[0].key
    data = bytearray(place.read_bytes())
    _flip(data, len(data) // 2)
    overwrite(place, bytes(data))
    (face.directory / "objects" / segments[2].key).unlink()
    answer = await take(face, 0, 16)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert [part["object"] for part in manifest["parts"]] == [segments[1].key]
    told = [(gap["cause"], gap["detail"]) for gap in manifest["gaps"]]
    assert [cause for cause, _ in told] == ["store", "network", "store"]
    assert "is not what was recorded" in told[0][1]
    assert "is not in the store" in told[2][1]


@on_face
async def test_what_one_film_cannot_hold_begins_the_next(face: Face) -> None:
    """H.264 then H.265 then another size: three films, all of them sound; part of a recording is cut at a key frame."""
    face.clock.at = TEN + timedelta(hours=1)
    kinds = [("libx264", "320x180"), ("libx265", "320x180"), ("libx264", "640x360")]
    for n, (codec, size) in enumerate(kinds):
        await recorded(face, 4 * n, film(face.directory / f"{n}.mp4", codec, size))
    bundle = face.directory / "export.zip"
    bundle.write_bytes((await take(face, 1.5, 10.5)).body)
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        archive.extractall(face.directory / "out")
    assert [each["name"] for each in manifest["files"]] == [f"export-{n}.mp4" for n in (1, 2, 3)]
    counts = [part["video"]["count"] for part in manifest["parts"]]
    assert counts == [3 * RATE, 4 * RATE, round(2.5 * RATE) + 1]
    assert manifest["gaps"] == []
    assert verify(bundle, "--key", fingerprint(face))[0] == 0
    for n, (codec, tag) in enumerate((("h264", "avc1"), ("hevc", "hvc1"), ("h264", "avc1")), start=1):
        with av.open(str(face.directory / "out" / f"export-{n}.mp4")) as source:
            context = source.streams.video[0].codec_context
            assert (context.name, context.codec_tag) == (codec, tag)
            assert len(list(source.decode(video=0))) == counts[n - 1], "every picture can be shown"


@on_face
async def test_an_export_is_registered_with_name_and_reason_or_not_given_out(face: Face) -> None:
    """Role, name, reason, span and the manifest's digest; without a reason, without the role, of nothing: refused and not
    registered."""
    await three(face, face.directory)
    assert (await take(face, 0, 8, role="guard")).status == 403
    assert (await take(face, 0, 8, reason="")).status == 422
    assert (await take(face, 20, 30)).status == 404
    assert (await take(face, 8, 0)).status == 422
    assert (await take(face, 0, 7 * 3600)).status == 422
    assert (await take(face, 0, 3700)).status == 422, "its end lies in the future"
    register = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    assert register == []
    answer = await take(face, 0, 8, name="李老师")
    (line,) = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    assert (line["act"], line["name"], line["content"], line["reason"]) == (
        "exported",
        "李老师",
        OTHER,
        "案件 2026-17",
    )
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        digest = hashlib.sha256(archive.read("manifest.json")).hexdigest()
    assert line["detail"]["manifest_sha256"] == digest


@on_face
async def test_an_export_needs_room_and_says_how_much(face: Face) -> None:
    """A disk that could not hold it is said before anything is fetched, and nothing is left behind."""
    await three(face, face.directory)
    face.parts.exporting._free_bytes = lambda _folder: 1_000_000
    answer = await take(face, 0, 16)
    assert answer.problem == "refused"
    assert "ask for a shorter span" in answer.json["detail"]
    assert not list((face.directory / "exports").iterdir())


@on_face
async def test_an_export_stops_no_recording_and_takes_nothing_of_the_reserve(face: Face) -> None:
    """What it leaves free is more than what recording ends at and begins again at, beside the alarm evidence's reserve."""
    await three(face, face.directory)
    limit = 10**9 + spool_room.LEFT_FREE_BYTES + spool_room.WELL_AGAIN_BYTES
    face.parts.exporting._free_bytes = lambda _folder: limit
    assert (await take(face, 0, 16)).problem == "refused"
    face.parts.exporting._free_bytes = lambda _folder: limit + 10**9
    assert (await take(face, 0, 16)).status == 200


@on_face
async def test_what_exists_is_told_minute_by_minute_with_gaps_and_their_causes(face: Face) -> None:
    """Seconds covered, frames, objects, and why the rest is missing; a guard has to say why they look, and it is registered."""
    face.clock.at = TEN + timedelta(minutes=4)
    bounds = TEN - timedelta(minutes=1)
    gap = Gap(
        id="gap_1",
        camera=OTHER,
        start=TEN + timedelta(seconds=64),
        end=TEN + timedelta(seconds=124),
        cause=GapCause.CAMERA,
        detail="no frame for 5 s",
    )

    def fill(tx: SqlTransaction) -> None:
        tx.recordings.begin(OTHER, bounds)
        tx.recordings.open_gap(gap)

    await face.store.write(fill)
    for at_s in (0, 60, 124):
        await recorded(face, at_s, b"a film")
    path = f"/api/v1/cameras/{OTHER}/recordings"
    span = {"from": (TEN - timedelta(hours=1)).isoformat(), "to": (TEN + timedelta(minutes=10)).isoformat()}
    assert (await face.ask(path, role="guard", params=span)).status == 422
    found = (await face.ask(path, role="guard", params={**span, "reason": "核查"})).json
    told = [(m["covered_ms"], m["frames"], len(m["segments"]), m["gaps"]) for m in found["minutes"]]
    assert told == [
        (0, 0, 0, []),
        (4000, 100, 1, []),
        (4000, 100, 1, ["gap_1"]),
        (4000, 100, 1, ["gap_1"]),
        (0, 0, 0, []),
    ]
    assert [each["cause"] for each in found["gaps"]] == ["camera"]
    assert found["segments"][0]["key"].endswith("020000Z.mp4")
    (line,) = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    assert (line["act"], line["content"], line["reason"]) == ("viewed", f"recordings of {OTHER}", "核查")
    assert (await face.ask("/api/v1/cameras/none/recordings", role="inspector", params=span)).status == 404
    longer = {**span, "to": (TEN + timedelta(hours=26)).isoformat()}
    assert (await face.ask(path, role="inspector", params=longer)).status == 422
