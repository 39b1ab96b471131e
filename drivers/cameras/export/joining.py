"""The process that joins recordings into one film: stream copy, nothing decoded, nothing encoded.

Run by the gateway as ``python -P -m drivers.cameras.joining`` with a socket for standard input and output, one JSON document
a line: first ``{"folder", "begin", "end", "gaps"}``, then ``{"path", "start"}`` for each recording in order of time, answered one
by one with ``{"ok"}`` or ``{"error"}``, at last ``{"finish"}``, answered with the films. Times are seconds since 1970.

The bytes of every picture and sound stay what the camera sent; what of each recording went where is told with its SHA-256, so
that the film can be held against the recordings, and each part of it by itself, without this program. Pauses keep their length:
the last picture before one stands still, and a chapter says so. A recording that one film cannot go on with (another codec,
another size) begins the next film.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging

from gateway.domain.errors import Malformed

TICKS = 90_000
Message = dict[str, Any]


@dataclass(slots=True)
class _Track:
    """One track of the film being written: where its time stands, and how much is in it."""

    stream: Any
    base: Fraction
    next_dts: int = 0
    count: int = 0


@dataclass(slots=True)
class _Film:
    """A film being written."""

    path: Path
    out: Any
    begin: float
    described: tuple[object, ...]
    tracks: dict[str, _Track] = field(default_factory=dict)


class Joining:
    """One export on its way."""

    def __init__(self, order: Message) -> None:
        self._folder = Path(order["folder"])
        self._begin, self._end = float(order["begin"]), float(order["end"])
        self._gaps: list[tuple[float, float, str]] = [tuple(gap) for gap in order["gaps"]]
        self._film: _Film | None = None
        self._films: list[Message] = []

    def take(self, path: str, start: float) -> Message | None:
        """Append what lies in the span of one recording that began at ``start``; what of it was taken, or ``None`` if
        nothing. Raises ``Malformed`` if it cannot be read."""
        try:
            with av.open(path, "r") as source:
                return self._take(source, start)
        except (av.FFmpegError, IndexError) as exc:
            raise Malformed(f"{Path(path).name} cannot be read as a recording: {exc}") from exc

    def _take(self, source: Any, start: float) -> Message | None:
        video = source.streams.video[0]
        sounds = list(source.streams.audio[:1])
        packets = [p for p in source.demux(video, *sounds) if p.pts is not None and p.size]
        pictures = [p for p in packets if p.stream is video]
        if not pictures:
            return None
        first = min(p.pts * p.time_base for p in pictures)

        def at(packet: Any) -> float:
            return start + float(packet.pts * packet.time_base - first)

        keys = [p for p in pictures if p.is_keyframe]
        begins = max((at(p) for p in keys if at(p) <= self._begin), default=at(keys[0]) if keys else start)
        chosen = [p for p in packets if begins <= at(p) < self._end]
        if not any(p.stream is video for p in chosen):
            return None
        film = self._film_for(source, video, sounds, max(begins, start))
        taken: Message = {"file": film.path.name, "from": None, "to": None}
        digests = {"video": hashlib.sha256(), "sound": hashlib.sha256()}
        for kind, track in film.tracks.items():
            taken[kind] = {"first": track.count, "count": 0}
        ends = begins
        for packet in chosen:
            kind = "video" if packet.stream is video else "sound"
            if kind not in film.tracks:
                continue
            moment, lasts = at(packet), float((packet.duration or 0) * packet.time_base)
            digests[kind].update(bytes(packet))
            taken[kind]["count"] += 1
            if kind == "video":
                taken["from"] = moment if taken["from"] is None else min(taken["from"], moment)
                ends = max(ends, moment + lasts)
            self._write(film, kind, packet, moment)
        taken["to"] = min(ends, self._end)
        for kind in film.tracks:
            taken[kind]["sha256"] = digests[kind].hexdigest()
        return taken

    def _film_for(self, source: Any, video: Any, sounds: list[Any], begins: float) -> _Film:
        """The film this recording goes into: the one being written, if it can go on with it."""
        described = tuple(
            (
                stream.codec_context.name,
                bytes(stream.codec_context.extradata or b""),
                getattr(stream.codec_context, "width", 0),
                getattr(stream.codec_context, "height", 0),
                getattr(stream.codec_context, "sample_rate", 0),
            )
            for stream in (video, *sounds)
        )
        if self._film is not None and self._film.described == described:
            return self._film
        self._close()
        number = len(self._films) + 1
        path = self._folder / f"export-{number}.mp4"
        film = _Film(path, av.open(str(path), "w", format="mp4"), begins, described)
        for kind, stream in (("video", video), *(("sound", s) for s in sounds)):
            ours = film.out.add_stream_from_template(stream)
            if stream.codec_context.name == "hevc":
                ours.codec_context.codec_tag = "hvc1"  # Apple's players take no other name
            base = Fraction(1, TICKS) if kind == "video" else Fraction(1, stream.codec_context.sample_rate)
            ours.time_base = base
            film.tracks[kind] = _Track(ours, base)
        film.out.set_chapters(self._chapters(begins))
        self._film = film
        return film

    def _chapters(self, begins: float) -> list[dict[str, Any]]:
        """The pauses, and what lies between them, by name; in whole milliseconds from the film's beginning."""
        marks: list[tuple[float, str]] = [(begins, "recorded 有录像")]
        for start, end, cause in self._gaps:
            if end > begins:
                marks += [(max(start, begins), f"missing 缺失: {cause}"), (end, "recorded 有录像")]
        ends = [at for at, _ in marks[1:]] + [max(self._end, marks[-1][0])]
        return [
            {
                "id": number,
                "start": round(1000 * (at - begins)),
                "end": round(1000 * (end - begins)),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": title},
            }
            for number, ((at, title), end) in enumerate(zip(marks, ends, strict=True))
            if end > at
        ]

    @staticmethod
    def _write(film: _Film, kind: str, packet: Any, moment: float) -> None:
        track = film.tracks[kind]
        dts = packet.dts if packet.dts is not None else packet.pts
        early = float((packet.pts - dts) * packet.time_base)
        pts = round((moment - film.begin) / track.base)
        place = max(round((moment - early - film.begin) / track.base), track.next_dts)
        copy = av.Packet(bytes(packet))
        copy.stream = track.stream
        copy.time_base = track.base
        copy.pts, copy.dts = max(pts, place), place
        copy.duration = round(float((packet.duration or 0) * packet.time_base) / track.base)
        copy.is_keyframe = packet.is_keyframe
        track.next_dts = place + 1
        track.count += 1
        film.out.mux(copy)

    def _close(self) -> None:
        film, self._film = self._film, None
        if film is None:
            return
        film.out.close()
        with film.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._films.append(
                {"name": film.path.name, "bytes": os.fstat(file.fileno()).st_size, "sha256": digest}
            )

    def finish(self) -> list[Message]:
        """Close what is open; every film with its size and SHA-256."""
        self._close()
        return self._films


def main() -> None:
    """Serve one export on standard input and output."""
    av.logging.set_level(av.logging.PANIC)
    joining: Joining | None = None
    for line in sys.stdin:
        message = json.loads(line)
        answer: Message
        try:
            if joining is None:
                joining = Joining(message)
                answer = {"ok": None}
            elif "finish" in message:
                answer = {"ok": joining.finish()}
            else:
                answer = {"ok": joining.take(message["path"], message["start"])}
        except Malformed as exc:
            answer = {"error": str(exc)}
        except OSError as exc:
            answer = {"error": f"cannot write: {exc.strerror or exc}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
