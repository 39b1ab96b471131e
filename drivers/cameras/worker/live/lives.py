"""The picture that is shown live: the camera's own stream where browsers play it, else its H.264 stream beside it.

Browsers play H.264. The second session to a camera whose main stream is H.265 is opened when somebody looks, or when evidence is
asked of it, which says that an alarm is open there: who gets the alarm looks at once. It is closed when neither was for a while.
There is never more than one, however many look.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from drivers.cameras.worker.live.hls import PLAYABLE
from drivers.cameras.worker.stream.beside import Beside
from drivers.cameras.worker.stream.opening import Address
from drivers.cameras.worker.stream.rtsp import Session
from gateway.domain.errors import NotPlayable

IDLE_S = 60.0
"""How long a second stream is kept after the last look and the last piece of evidence."""

HOLDER = "live"


@dataclass(slots=True)
class _Live:
    address: Address | None = None
    session: Session | None = None
    until_s: float = field(default=0.0)


class Lives:
    """The second streams of all cameras. Thread-safe."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        self._lock = threading.Lock()
        self._lives: dict[str, _Live] = {}

    def point_at(self, main: Session, address: Address | None) -> None:
        """Where the camera's second stream is; ``None`` if it has none, or none is known yet."""
        with self._lock:
            live = self._lives.setdefault(main.id, _Live())
            if address == live.address:
                return
            was_open = live.session is not None
            if was_open:
                self._close(main.id, live)
            live.address = address
            if was_open and address is not None:
                live.session = self._beside.open(main, address, HOLDER)

    def prepare(self, main: Session, *, until_s: float = 0.0) -> None:
        """Evidence is asked of the camera, up to ``until_s``: somebody will want to look at it."""
        if needs_another(main):
            self._open(main, until_s)

    def shown(self, main: Session) -> tuple[Session, str]:
        """The session whose ring is shown, and what to say of it. Raises :class:`NotPlayable` where there can be none."""
        if not needs_another(main):
            return main, ""
        beside = self._open(main)
        if beside is None or (beside.video is not None and beside.video.codec != PLAYABLE):
            raise NotPlayable(self._reason(main, beside))
        return beside, self._reason(main, beside)

    def watched(self, main: Session) -> Session | None:
        """The second session, if it is open: somebody still looks."""
        with self._lock:
            live = self._lives.get(main.id)
            if live is None or live.session is None:
                return None
            live.until_s = max(live.until_s, time.monotonic() + IDLE_S)
            return live.session

    def close_idle(self) -> None:
        """Close what nobody looks at any more; to be called about once a second."""
        now = time.monotonic()
        with self._lock:
            for camera, live in self._lives.items():
                if live.session is not None and live.until_s < now:
                    self._close(camera, live)

    def facts(self, main: Session) -> dict[str, Any]:
        """What health tells: ``live_codec`` is ``None`` while it is not known or there is none."""
        with self._lock:
            live = self._lives.get(main.id)
            beside = live.session if live is not None else None
        if not needs_another(main):
            return {"live_codec": main.video.picture.codec if main.video else None, "live_note": ""}
        playable = beside is not None and beside.video is not None and beside.video.codec == PLAYABLE
        return {
            "live_codec": beside.video.picture.codec if playable and beside and beside.video else None,
            "live_note": self._reason(main, beside),
        }

    # ------------------------------------------------------------------ inside

    def _open(self, main: Session, until_s: float = 0.0) -> Session | None:
        with self._lock:
            live = self._lives.setdefault(main.id, _Live())
            live.until_s = max(live.until_s, until_s, time.monotonic() + IDLE_S)
            if live.session is None and live.address is not None:
                live.session = self._beside.open(main, live.address, HOLDER)
            return live.session

    def _close(self, camera: str, live: _Live) -> None:
        assert live.address is not None
        live.session = None
        self._beside.let_go(camera, live.address, HOLDER)

    def _reason(self, main: Session, beside: Session | None) -> str:
        with self._lock:
            known = self._lives.get(main.id)
            address = known.address if known is not None else None
        assert main.video is not None
        if address is None:
            return (
                f"no live picture: the camera sends {main.video}, which browsers do not play, and no H.264 stream of it is "
                "known; set one of its profiles to H.264 (or name it as live_url); stills and clips are not affected"
            )
        if beside is not None and beside.video is not None:
            if beside.video.codec != PLAYABLE:
                return (
                    f"no live picture: the camera's second stream is {beside.video} too, which browsers do not play; "
                    "set it to H.264; stills and clips are not affected"
                )
            return f"live shows the camera's sub-stream ({beside.video}): its main stream is {main.video}"
        return f"live shows the camera's H.264 sub-stream: its main stream is {main.video}"


def needs_another(main: Session) -> bool:
    """Whether the main stream is known, and nothing browsers play."""
    return main.video is not None and main.video.codec != PLAYABLE
