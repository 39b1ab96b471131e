"""The camera process: everything that touches a camera's bytes, apart from the process that carries the alarm.

Run by the gateway as ``python -P -m drivers.cameras.worker FD``; FD is its end of a socket pair. It ends at once when the
other end closes, however the gateway came to its end. One thread reads requests and does nothing else, so
that a request is taken whatever the cameras do.

Requests: ``{"id", "op", …}``; answers: ``{"id", "ok": …}`` or ``{"id", "error": reason}`` with a tail where bytes are asked
for. Without an id: ``cameras`` (configuration, down), ``health``, ``at`` and ``progress`` (up).

One file, though long: it is the list of all requests.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import av.logging

from drivers.cameras.channel import Message, encode, read_blocking
from drivers.cameras.spec import RingLimits
from drivers.cameras.unforeseen import in_words
from drivers.cameras.worker.at_work import AT_WORK
from drivers.cameras.worker.evidence.clips import Clip, Clips, Cutting
from drivers.cameras.worker.evidence.film import Progress
from drivers.cameras.worker.evidence.stills import Still, Stills, Wanted
from drivers.cameras.worker.frames.group import Group
from drivers.cameras.worker.frames.timing import HouseClock
from drivers.cameras.worker.live import hls
from drivers.cameras.worker.live.lives import Lives, needs_another
from drivers.cameras.worker.record.either import EitherStream
from drivers.cameras.worker.record.mending import Mending
from drivers.cameras.worker.record.recorders import Recorders
from drivers.cameras.worker.record.recording import Recorder
from drivers.cameras.worker.stream.beside import Beside
from drivers.cameras.worker.stream.opening import LIBRARY_IS_BOUNDED, Address
from drivers.cameras.worker.stream.ring import Ring
from drivers.cameras.worker.stream.rtsp import Session, numbers_from
from drivers.cameras.worker.threads import THREADS
from gateway.domain.errors import Malformed, NotPlayable, Unavailable

HEALTH_EVERY_S = 1.0
FRESH_S = 5.0
"""A camera whose newest frame is older than this is not healthy, whatever its session says."""

CLOCK_SET_S = 0.5
"""A span that is so much longer or shorter by the wall clock than it was, is one within which that clock was set."""

TRIM_AFTER_S = 8.0
"""How long after the last still, clip or look memory is given back; players come again every second or two."""

log = logging.getLogger("drivers.cameras.worker")


class Worker:
    """The state of the process: sessions, and what is being made of their rings."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._sending = threading.Lock()
        self._clock = HouseClock(time.monotonic(), time.time())
        self._sessions: dict[str, Session] = {}
        self._stills = Stills()
        self._clips = Clips(self._stills.calm)
        self._beside = Beside(self._clock, changed=lambda: self._changed.set())
        self._lives = Lives(self._beside)
        self._recorders = Recorders(closed=self._segment_closed)
        self._mending = Mending(closed=self._segment_closed)
        self._live = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._parts = hls.Parts()
        self._under_way: dict[int, Wanted | Cutting] = {}
        self._changed = threading.Event()
        self._worked = 0.0

    def serve(self) -> None:
        """Take messages until the gateway closes its end."""
        AT_WORK.report = lambda camera, doing, begins: self._send({"at": [camera, doing, begins]})
        THREADS.begin("health", self._tell_health)
        while True:
            try:
                message, _ = read_blocking(self._read_exactly)
            except (EOFError, OSError):
                return
            self._take(message)

    def _read_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._wire.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def _send(self, message: Message, tail: bytes = b"") -> None:
        try:
            data = encode(message, tail)
        except Malformed as exc:
            data = encode({"id": message.get("id"), "error": str(exc)})
        with self._sending, suppress(OSError):  # a gateway that is gone is noticed by the reader
            self._wire.sendall(data)

    # ------------------------------------------------------------------ requests

    def _take(self, message: Message) -> None:
        op, number = message.get("op"), message.get("id", 0)
        try:
            if op == "cameras":
                self._configure(message)
            elif op == "ping":
                self._send({"id": number, "ok": True})
            elif op == "still":
                self._still(number, self._session(message), message)
            elif op == "clip":
                self._clip(number, self._session(message), message)
            elif op in ("playlist", "part"):
                self._live.submit(self._show, number, self._session(message), message.get("name"))
            elif op == "cancel":
                self._cancel(message["of"])
            else:
                raise Unavailable(f"the camera process knows no request {op!r}")
        except Unavailable as exc:
            self._send({"id": number, "error": exc.reason})
        except Exception as exc:  # one bad request must not end the process for all cameras
            log.exception("request %s failed", op)
            self._send({"id": number, "error": f"the camera process failed at {op}: {in_words(exc)}"})

    def _session(self, message: Message) -> Session:
        session = self._sessions.get(message["camera"])
        if session is None:
            raise Unavailable(f"no camera {message['camera']!r} in the plan")
        return session

    def _configure(self, message: Message) -> None:
        limits = RingLimits(seconds=message["ring_s"], bytes=message["ring_bytes"])
        for camera in message["cameras"]:
            session = self._sessions.get(camera["id"])
            if session is None:
                session = Session(
                    camera["id"],
                    Ring(limits, first_number=numbers_from()),
                    self._clock,
                    on_frame=self._frame_arrived,
                    on_change=self._changed.set,
                    audio=camera.get("audio", False),
                )
                self._sessions[session.id] = session
                session.start()
            address = Address(**camera["address"]) if camera.get("address") else None
            session.point_at(address, camera.get("cause", ""))
            self._lives.point_at(session, Address(**camera["live"]) if camera.get("live") else None)
            self._record(session, camera.get("record"), camera)
        if message["recordings"] is not None:  # after it is known which folders are those of recorded cameras
            self._mending.begin(Path(message["recordings"]))
        self._changed.set()

    def _record(self, session: Session, wanted: Message | None, camera: Message) -> None:
        if wanted is None:
            self._recorders.stop(session.id)
            return
        folder = Path(wanted["folder"])

        def begin(stream: Session, first: Group | None, *, substream: bool) -> Recorder:
            return Recorder(
                stream,
                folder,
                self._clock,
                offset_s=wanted["offset_s"],
                segment_s=wanted["segment_s"],
                closed=self._segment_closed,
                camera=session.id,
                substream=substream,
                first=first,
            )

        self._mending.recorded(session.id)
        self._recorders.record(
            EitherStream(session, self._beside, begin), mend=lambda: self._mending.mend(folder / session.id)
        )
        self._recorders.keep(
            session.id,
            keys_only=wanted["keys_only"],
            substream=wanted["substream"],
            second=Address(**camera["sub"]) if camera.get("sub") else None,
            no_second=camera.get("no_sub", ""),
        )

    def _segment_closed(self, facts: Message) -> None:
        self._send({"segment": facts})

    def _frame_arrived(self, session: Session) -> None:
        self._stills.frame_arrived(session)
        self._clips.frame_arrived(session)

    def _still(self, number: int, session: Session, message: Message) -> None:
        at_s = message["at_s"]
        asked_s = self._clock.to_monotonic(message["at"]) if at_s is None else at_s

        def answer(still: Still | Unavailable) -> None:
            self._under_way.pop(number, None)
            self._worked = time.monotonic()
            if isinstance(still, Unavailable):
                self._send({"id": number, "error": still.reason})
            else:
                self._send(
                    {
                        "id": number,
                        "ok": True,
                        "offset_s": still.time_s - asked_s,
                        "clock": still.clock,
                    },
                    still.jpeg,
                )

        self._lives.prepare(session)
        self._under_way[number] = self._stills.take(session, asked_s, answer)

    def _clip(self, number: int, session: Session, message: Message) -> None:
        asked_s, end_s = message["span_s"] or (
            self._clock.to_monotonic(message["start"]),
            self._clock.to_monotonic(message["end"]),
        )
        never_s = message["end"] - message["start"] - (end_s - asked_s)
        missing = (
            f"the clock was set by {never_s:+.1f} s within this span: it is {end_s - asked_s:.1f} s long"
            if abs(never_s) > CLOCK_SET_S
            else ""
        )

        def answer(clip: Clip | Unavailable) -> None:
            self._under_way.pop(number, None)
            self._worked = time.monotonic()
            if isinstance(clip, Unavailable):
                self._send({"id": number, "error": clip.reason})
                return
            self._send(
                {
                    "id": number,
                    "ok": True,
                    "offset_s": clip.start_s - asked_s,
                    "lasts_s": clip.end_s - clip.start_s,
                    "bytes": clip.bytes,
                    "sha256": clip.sha256,
                    "shortfall": "; ".join(text for text in (missing, clip.shortfall) if text) or None,
                    "clock": clip.clock,
                }
            )

        def progress(done: Progress) -> None:
            self._send(
                {
                    "progress": number,
                    "offset_s": done.start_s - asked_s,
                    "lasts_s": done.end_s - done.start_s,
                    "bytes": done.bytes,
                }
            )

        cutting = Cutting(
            session,
            asked_s,
            end_s,
            Path(message["target"]),
            self._clock,
            progress=progress,
            answer=answer,
        )
        self._lives.prepare(session, until_s=cutting.end_s)
        self._under_way[number] = cutting
        self._clips.cut(cutting)

    def _cancel(self, number: int) -> None:
        under_way = self._under_way.pop(number, None)
        if isinstance(under_way, Cutting):
            self._clips.give_up(under_way)
        elif under_way is not None:
            self._stills.forget(under_way)

    def _show(self, number: int, session: Session, name: str | None) -> None:
        """A live playlist, or one of its parts, in the thread for that: many viewers hold up no evidence."""
        self._worked = time.monotonic()
        try:
            if name is not None:
                self._send({"id": number, "ok": True}, self._part(session, name))
            else:
                self._send({"id": number, "ok": True, **self._playlist(session)})
        except NotPlayable as exc:
            self._send({"id": number, "error": exc.reason, "not_playable": True})
        except Unavailable as exc:
            self._send({"id": number, "error": exc.reason})
        except Exception as exc:  # whatever a stream can do to the muxer costs this request only
            log.exception("the live picture of camera %s failed", session.id)
            self._send({"id": number, "error": f"no live picture can be made of this stream: {exc}"})

    def _part(self, session: Session, name: str) -> bytes:
        """Of the camera's own ring or of its second stream, whichever is shown now first: numbers begun in the same half-second
        are the same."""
        beside = self._lives.watched(session)
        sessions = [session] if beside is None else [session, beside]
        if needs_another(session):
            sessions.reverse()
        shown = next((each for each in sessions if hls.holds(each.ring, name)), sessions[0])
        return self._parts.part(shown.id, shown.ring, name)

    def _playlist(self, session: Session) -> Message:
        shown, note = self._lives.shown(session)
        found = hls.playlist(shown.ring)
        if found is None or shown.cause:
            raise Unavailable(shown.cause or "no whole segment yet")
        segments = [[s.number, s.duration_s, self._clock.to_wall(s.begins_s)] for s in found.segments]
        return {"codec": found.codec, "epoch": found.epoch, "segments": segments, "note": note}

    # ------------------------------------------------------------------ health

    def _tell_health(self) -> None:
        while True:
            self._changed.wait(HEALTH_EVERY_S)
            self._changed.clear()
            now = time.monotonic()
            self._clock.observe(now, time.time())
            self._lives.close_idle()
            if self._worked and not self._under_way and now - self._worked > TRIM_AFTER_S:
                self._worked = 0.0
                self._live.submit(self._parts.forget)
                self._stills.pictures.forget()
                give_memory_back()
            self._send(
                {
                    "health": [self._health_of(s, now) for s in list(self._sessions.values())],
                    "hangs": self._recorders.hangs(now),
                    "bounded": LIBRARY_IS_BOUNDED,
                    "deaths": _deaths(now),
                }
            )

    def _health_of(self, session: Session, now: float) -> dict[str, Any]:
        newest_s = session.ring.newest_s()
        seconds, size = session.ring.held()
        error_s, skew = session.ring.quality()
        fresh = session.last_frame_s is not None and now - session.last_frame_s < FRESH_S
        picture = session.video.picture if session.video else None
        recording = self._recorders.health(session.id)
        hangs = self._recorders.hangs(now) if recording else ""
        return {
            "camera": session.id,
            "healthy": fresh and not session.cause,
            "cause": session.cause or ("" if fresh else f"no frame for {FRESH_S:.0f} s"),
            "refused": session.refused,
            "reached": session.reached,
            "since": self._clock.to_wall(session.since_s),
            "last_frame_at": None if newest_s is None else self._clock.to_wall(newest_s),
            "codec": picture.codec if picture else None,
            "width": picture.width if picture else None,
            "height": picture.height if picture else None,
            "clock_offset_s": session.clock_offset_s,
            "ring_s": seconds,
            "ring_bytes": size,
            "sessions": session.sessions,
            "timing_error_s": error_s,
            "timing_skew": skew,
            "key_frames_apart_s": session.ring.key_frames_apart_s(),
            "sound_missing": session.sound_missing,
            "recording": hangs or recording.cause if recording else None,
            "recorded_since": self._clock.to_wall(recording.since_s)
            if recording and recording.since_s
            else None,
            "recorded_until": self._clock.to_wall(recording.until_s)
            if recording and recording.until_s
            else None,
            "recorded_substream": recording.recorded_substream if recording else False,
            "substream_missing": recording.missing if recording else "",
            **self._lives.facts(session),
        }


def _deaths(now: float) -> list[list[Any]]:
    return [[name, d.camera, d.cause, d.count] for name, d in THREADS.deaths(now).items()]


def give_memory_back() -> None:
    """Hand freed memory to the system, where the C library can: decoding leaves holes between the rings' packets."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Serve on the inherited socket named by the only argument."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # FFmpeg's own messages name URLs with their credentials. Handed to Python they could moreover stop the process: a decoder's
    # thread that has something to say waits for the interpreter, which waits for that thread where the decoder is let go.
    av.logging.set_libav_level(av.logging.PANIC)
    av.logging.restore_default_callback()
    with suppress(
        OSError
    ):  # where memory runs out, the alarm must survive the pictures, not the other way round
        Path("/proc/self/oom_score_adj").write_text("500")
    with socket.socket(fileno=int(sys.argv[1])) as wire:
        Worker(wire).serve()
        # Sessions wait in the network and threads in the disk: none of them may keep the process alive.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
