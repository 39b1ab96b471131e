#!/usr/bin/env python3
"""Check an export of campus-gateway offline: is it what the box in the school signed, and all of it?

One file, for Python 3.9 or newer; needs nothing but the package ``cryptography``.
离线核验导出的录像：只需本文件、Python 与 cryptography。

    python3 verify_export.py EXPORT.zip --key 9f86d081…

What is checked: the signature over the manifest; that the signing key is the one given; the SHA-256 and size of every file;
every part of every film by the bytes of its pictures and of its sound, so that an alteration is told to the minute; that parts
and gaps together account for the whole span. With ``--objects DIR`` also the recordings the parts were taken from.

Exit code: 0 sound and signed by the key given; 1 altered, incomplete or signed by another key; 2 cannot be read as an export;
3 not proved: no key was given to compare with, so anybody could have signed it; or the package cryptography is missing here.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import struct
import sys
from datetime import datetime, timedelta
from pathlib import Path

FORMAT = "campus-gateway export v1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
BESIDE = frozenset({MANIFEST, SIGNATURE, "README.txt"})
PIECE = 1 << 20
SEAM = timedelta(
    milliseconds=1200
)  # parts closer than this are one recording, as the gateway's ledger has it
LARGEST_MANIFEST = 64 << 20
EXIT_SOUND, EXIT_ALTERED, EXIT_UNREADABLE, EXIT_NOT_PROVED = 0, 1, 2, 3


class Unreadable(Exception):
    """It is not an export, or cannot be read as one."""


class NotInstalled(Exception):
    """The package that checks signatures is missing on this machine, or cannot be used."""


# ---------------------------------------------------------------------- the bundle's files


class Bundle:
    """A folder, or a ZIP whose members are stored as they are, so that they can be read at any place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[Path, int, int]] = {}
        if path.is_dir():
            for each in sorted(path.iterdir()):
                if each.is_file():
                    self._places[each.name] = (each, 0, each.stat().st_size)
            return
        import zipfile  # not at a gateway's start, which shares this file

        try:
            with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
                for info in archive.infolist():
                    if info.filename in self._places:
                        raise Unreadable(f"{path}: {info.filename} is in it twice")
                    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
                        raise Unreadable(
                            f"{path}: {info.filename} is compressed or encrypted; an export is stored as it is"
                        )
                    raw.seek(info.header_offset)
                    head = raw.read(30)
                    if len(head) < 30 or head[:4] != b"PK\x03\x04":
                        raise Unreadable(f"{path}: {info.filename} has no head")
                    name, extra = struct.unpack("<HH", head[26:30])
                    self._places[info.filename] = (
                        path,
                        info.header_offset + 30 + name + extra,
                        info.file_size,
                    )
        except (zipfile.BadZipFile, OSError) as exc:
            raise Unreadable(f"{path}: neither a folder nor a ZIP archive: {exc}") from exc

    def names(self) -> list[str]:
        return list(self._places)

    def open(self, name: str) -> Slice:
        if name not in self._places:
            raise Unreadable(f"{self._path}: {name} is missing")
        return Slice(*self._places[name])

    def read(self, name: str, most: int) -> bytes:
        with self.open(name) as file:
            if file.size > most:
                raise Unreadable(f"{name}: {file.size} bytes, at most {most} are plausible")
            return file.at(0, file.size)


class Slice:
    """A part of a file, read by place."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.size = size
        self._start = start
        self._file = path.open("rb")

    def __enter__(self) -> Slice:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def at(self, place: int, count: int) -> bytes:
        """Bytes from ``place``; fewer where the file ends."""
        self._file.seek(self._start + place)
        return self._file.read(max(0, min(count, self.size - place)))

    def sha256(self) -> str:
        digest, place = hashlib.sha256(), 0
        while piece := self.at(place, PIECE):
            digest.update(piece)
            place += len(piece)
        return digest.hexdigest()


# ---------------------------------------------------------------------- MP4 (ISO/IEC 14496-12)


def boxes(file: Slice, begin: int, end: int) -> list[tuple[bytes, int, int]]:
    """``(kind, where its content begins, where it ends)`` of each box between two places."""
    found = []
    while begin + 8 <= end:
        size, kind = struct.unpack(">I4s", file.at(begin, 8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.at(begin + 8, 8))[0], 16
        elif size == 0:
            size = end - begin
        if size < head or begin + size > end:
            raise Unreadable(
                f"MP4: a box {kind!r} at byte {begin} says {size} bytes, {end - begin} are there"
            )
        found.append((kind, begin + head, begin + size))
        begin += size
    return found


def inside(file: Slice, box: tuple[bytes, int, int], *path: bytes) -> tuple[bytes, int, int] | None:
    """The first box found by going down ``path``."""
    for wanted in path:
        deeper = next((b for b in boxes(file, box[1], box[2]) if b[0] == wanted), None)
        if deeper is None:
            return None
        box = deeper
    return box


def samples(file: Slice, handler: bytes) -> list[tuple[int, int]]:
    """``(place, bytes)`` of each sample of the first track with this handler (``vide``, ``soun``), in their order."""
    moov = next((b for b in boxes(file, 0, file.size) if b[0] == b"moov"), None)
    if moov is None:
        raise Unreadable("MP4: there is no moov box, so no index of the pictures")
    for track in boxes(file, moov[1], moov[2]):
        if track[0] != b"trak":
            continue
        hdlr = inside(file, track, b"mdia", b"hdlr")
        table = inside(file, track, b"mdia", b"minf", b"stbl")
        if hdlr is not None and table is not None and file.at(hdlr[1] + 8, 4) == handler:
            return _places(file, table)
    return []


def _places(file: Slice, table: tuple[bytes, int, int]) -> list[tuple[int, int]]:
    kinds = {kind: (begin, end) for kind, begin, end in boxes(file, table[1], table[2])}

    def numbers(kind: bytes, head: int, form: str) -> list[tuple[int, ...]]:
        if kind not in kinds:
            raise Unreadable(f"MP4: the track has no {kind.decode()} box")
        begin, end = kinds[kind]
        content = file.at(begin, end - begin)
        (count,) = struct.unpack_from(">I", content, head - 4)
        width = struct.calcsize(form)
        if count * width > len(content) - head:
            raise Unreadable(f"MP4: {kind.decode()} says {count} entries and is too short for them")
        return list(struct.iter_unpack(form, content[head : head + count * width]))

    begin, _ = kinds.get(b"stsz", (0, 0))
    if not begin:
        raise Unreadable("MP4: the track has no stsz box")
    fixed, count = struct.unpack(">II", file.at(begin + 4, 8))
    sizes = [fixed] * min(count, file.size) if fixed else [n for (n,) in numbers(b"stsz", 12, ">I")]
    chunks = numbers(b"co64", 8, ">Q") if b"co64" in kinds else numbers(b"stco", 8, ">I")
    runs = numbers(b"stsc", 8, ">III")
    found: list[tuple[int, int]] = []
    run = 0
    for number, (place,) in enumerate(chunks, start=1):
        while run + 1 < len(runs) and runs[run + 1][0] <= number:
            run += 1
        for _ in range(runs[run][1] if runs else 0):
            if len(found) == len(sizes):
                break
            found.append((place, sizes[len(found)]))
            place += found[-1][1]
    return found


# ---------------------------------------------------------------------- checking


class Checking:
    """One bundle under examination. ``findings`` are what is wrong, ``notes`` what is to be known."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.findings: list[str] = []
        self.notes: list[str] = []
        body = bundle.read(MANIFEST, LARGEST_MANIFEST)
        try:
            self.manifest = json.loads(body)
            if self.manifest["format"] != FORMAT:
                raise Unreadable(
                    f"{MANIFEST}: format {self.manifest['format']!r}; this verifier knows {FORMAT!r}"
                )
            self.key = base64.b64decode(self.manifest["key"], validate=True)
        except (ValueError, KeyError, TypeError) as exc:
            raise Unreadable(f"{MANIFEST}: not a manifest of an export: {exc!r}") from exc
        self._body = body

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, hexadecimal."""
        return hashlib.sha256(self.key).hexdigest()

    def run(self, key: str | None, objects: Path | None) -> None:
        """Check everything. Raises :class:`Unreadable` where the manifest cannot be followed."""
        self._signature()
        if key is not None and not _same_key(key, self.key):
            self.findings.append(
                f"signed by another key than the one given: {self.fingerprint} 不是给定的签名密钥"
            )
        try:
            self._files()
            for part in self.manifest["parts"]:
                if objects is not None:
                    self._object(part, objects)
            self._span()
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise Unreadable(f"{MANIFEST}: not a manifest of an export: {exc!r}") from exc

    def _signature(self) -> None:
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError as exc:
            raise NotInstalled(
                f"the signature cannot be checked: the package cryptography is missing or cannot be used ({exc}). "
                f"Install it and call this again: {sys.executable or 'python3'} -m pip install cryptography "
                "缺少 cryptography 软件包，无法核对签名；安装后重新核验"
            ) from exc
        try:
            signature = base64.b64decode(self.bundle.read(SIGNATURE, 1024).strip(), validate=True)
            Ed25519PublicKey.from_public_bytes(self.key).verify(
                signature, FORMAT.encode() + b"\n" + self._body
            )
        except (InvalidSignature, binascii.Error, ValueError):
            self.findings.append(
                f"{MANIFEST}: the signature is not of this text 清单签名不符，清单可能被改动"
            )

    def _files(self) -> None:
        told = {each["name"]: each for each in self.manifest["files"]}
        for name in self.bundle.names():
            if name not in told and name not in BESIDE:
                self.findings.append(f"{name}: not in the manifest 清单中没有此文件")
        for name, each in told.items():
            if name not in self.bundle.names():
                self.findings.append(f"{name}: missing 文件缺失")
                continue
            with self.bundle.open(name) as file:
                found = file.sha256()
                if (file.size, found) != (each["bytes"], each["sha256"]):
                    self.findings.append(
                        f"{name}: {file.size} bytes, SHA-256 {found}; signed were {each['bytes']}, {each['sha256']} 文件被改动"
                    )
                try:
                    self._parts(name, file)
                except Unreadable as exc:
                    self.findings.append(f"{name}: {exc}")

    def _parts(self, name: str, file: Slice) -> None:
        """Each part by its own samples: so it is known which minutes are sound where the file as a whole is not."""
        for track, handler in (("video", b"vide"), ("sound", b"soun")):
            there = samples(file, handler)
            told = 0
            for part in self.manifest["parts"]:
                mine = part.get(track)
                if part["file"] != name or mine is None:
                    continue
                told += mine["count"]
                digest = hashlib.sha256()
                for place, size in there[mine["first"] : mine["first"] + mine["count"]]:
                    digest.update(file.at(place, size))
                complete = mine["first"] + mine["count"] <= len(there)
                if not complete or digest.hexdigest() != mine["sha256"]:
                    what = "pictures 画面" if track == "video" else "sound 声音"
                    self.findings.append(
                        f"{name}: the {what} of {part['from']} to {part['to']} are not those that were signed 与签名时不一致"
                    )
            if told != len(there):
                self.findings.append(f"{name}: {len(there)} samples of {track}, {told} were signed")

    def _object(self, part: dict[str, object], objects: Path) -> None:
        path = objects / str(part["object"])
        if not path.is_file():
            self.notes.append(f"{part['object']}: not under {objects}")
            return
        found = Slice(path, 0, path.stat().st_size).sha256()
        if found != part["object_sha256"]:
            self.findings.append(
                f"{part['object']}: SHA-256 {found}, not {part['object_sha256']} 原始录像与清单不符"
            )

    def _span(self) -> None:
        """Parts and gaps account for every instant of the span."""
        begin, end = _instant(self.manifest["from"]), _instant(self.manifest["to"])
        spans = sorted(
            (_instant(each["from"]), _instant(each["to"]))
            for each in (*self.manifest["parts"], *self.manifest["gaps"])
        )
        at = begin
        for start, stop in [*spans, (end, end)]:
            if start - at > SEAM:
                self.findings.append(
                    f"{at.isoformat()} to {start.isoformat()}: neither a recording nor a gap is told of 时间段未交代"
                )
            at = max(at, stop)

    def story(self) -> list[str]:
        """What it is an export of, in lines to read."""
        m = self.manifest
        lines = [
            f"site 学校      {m['site']['name']} ({m['site']['id']})",
            f"camera 摄像机  {m['camera']['name']} ({m['camera']['id']})",
            f"span 时间段    {m['from']} … {m['to']}",
            f"exported 导出  {m['exported_at']} by {m['by']['name']}, {m['by']['unit']}",
            f"reason 事由    {m['reason']}",
            f"clock 时钟     camera's clock off by {_seconds(m['clock']['offset_s'])} 摄像机时钟偏差",
            f"parts 片段     {len(m['parts'])}; gaps 缺口 {len(m['gaps'])}",
            *(f"  gap 缺口     {g['from']} … {g['to']} {g['cause']} {g['detail']}" for g in m["gaps"]),
            f"key 密钥       {self.fingerprint}",
        ]
        return [str(line) for line in lines]


def _seconds(value: object) -> str:
    return "unknown 未知" if value is None else f"{value} s"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _same_key(given: str, key: bytes) -> bool:
    """``given`` is the fingerprint, or the public key in base64 as heartbeats have it, or a file with one of them."""
    path = Path(given)
    text = path.read_text("ascii").strip() if len(given) < 256 and path.is_file() else given.strip()
    return text.lower() == hashlib.sha256(key).hexdigest() or text == base64.b64encode(key).decode()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; :func:`check` takes what is parsed."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the export: a ZIP archive or a folder")
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="the box's key: its fingerprint, the key as the heartbeats to the centre have it (register.key), or a file "
        "with one of them",
    )
    parser.add_argument(
        "--objects",
        type=Path,
        metavar="DIR",
        help="check the recordings themselves too, where DIR holds them",
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def check(args: argparse.Namespace) -> int:
    """Check one bundle, print what was found, return the exit code."""
    try:
        checking = Checking(Bundle(args.bundle))
        checking.run(args.key, args.objects)
    except (Unreadable, OSError, struct.error) as exc:
        print(f"cannot be read as an export 无法读取: {exc}", file=sys.stderr)
        return EXIT_UNREADABLE
    except NotInstalled as exc:
        if args.json:
            told = {"exit": EXIT_NOT_PROVED, "key": None, "findings": [], "notes": [str(exc)]}
            print(json.dumps(told, ensure_ascii=False))
        print(f"NOT PROVED 未能核验: {exc}", file=sys.stderr)
        return EXIT_NOT_PROVED
    found = EXIT_ALTERED if checking.findings else EXIT_SOUND if args.key else EXIT_NOT_PROVED
    if args.json:
        print(
            json.dumps(
                {
                    "exit": found,
                    "key": checking.fingerprint,
                    "findings": checking.findings,
                    "notes": checking.notes,
                },
                ensure_ascii=False,
            )
        )
        return found
    try:
        story = checking.story()
    except (KeyError, TypeError):
        print(
            f"cannot be read as an export 无法读取: {MANIFEST} lacks what every export has", file=sys.stderr
        )
        return EXIT_UNREADABLE
    for line in story:
        print(line)
    for note in checking.notes:
        print(f"note 注意: {note}")
    for finding in checking.findings:
        print(f"FOUND 发现问题: {finding}")
    print(
        {
            EXIT_SOUND: "SOUND 完好: nothing was altered, signed by the key given 未被改动，签名属于给定密钥",
            EXIT_ALTERED: f"NOT SOUND 不可信: {len(checking.findings)} finding(s)",
            EXIT_NOT_PROVED: "nothing was altered since it was signed, but by whom? Compare the key with the one the centre "
            "knows and give it with --key 自签名以来未被改动；请用 --key 核对密钥",
        }[found]
    )
    return found


def main(argv: list[str] | None = None) -> int:
    """Entry point of the file run by itself."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], epilog=(__doc__ or "").split("\n\n")[-1]
    )
    add_arguments(parser)
    return check(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
