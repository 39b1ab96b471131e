"""One simulated camera: an RTSP stream, ONVIF, a snapshot, and faults at will.

camera = SimulatedCamera(name="gate")
await camera.start()
...
await camera.set_faults(CameraFaults(freeze=True))
await camera.stop()
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from simulators.camera.audio import AudioLoop
from simulators.camera.digest import DigestGate
from simulators.camera.encoded import EncodedSource, EncodedStream
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import StreamDescription
from simulators.camera.jpeg import encode_jpeg
from simulators.camera.live import LiveSource
from simulators.camera.onvif import DEVICE_PATH, SNAPSHOT_PATH, OnvifService
from simulators.camera.picture import Canvas
from simulators.camera.profile import CameraProfile
from simulators.camera.rtsp import RtspServer
from simulators.camera.settings import StreamSettings
from simulators.camera.stream import Frame
from simulators.camera.web import CameraHttp

STREAM_PATH = "/live"
SUB_PATH = "/sub"

_log = logging.getLogger(__name__)


class SimulatedCamera:
    """A camera on this machine; everything runs in the event loop that starts it, except drawing and encoding.

    `source` is None for the live clock picture (its codec, size, rate and B-frames are the arguments here) or an
    `EncodedStream`. `audio` is None or one of `AUDIO_CODECS`, on every stream. `sub` sets a second, live stream with a
    profile of its own. `media2` says whether there is a Media2 service, `media1_h265` what Media says of an H.265 profile
    (`MEDIA1_H265`). Ports of 0 are chosen by the system. An empty `password` lets everybody in. `send_log` names a file
    that gets one JSON line per picture sent: camera, stream, frame, sent_at (Unix seconds), rtp (time stamp), key, clients.
    """

    def __init__(
        self,
        *,
        name: str = "camera",
        host: str = "127.0.0.1",
        rtsp_port: int = 0,
        http_port: int = 0,
        username: str = "admin",
        password: str = "camera-password",
        codec: str = "h264",
        width: int = 640,
        height: int = 360,
        fps: int = 25,
        gop: int | None = None,
        b_frames: int = 0,
        audio: str | None = None,
        sub: StreamSettings | None = None,
        media2: bool = True,
        media1_h265: str = "h264",
        source: EncodedStream | None = None,
        loop_offset: int = 0,
        send_log: Path | None = None,
        faults: CameraFaults | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.username, self.password = username, password
        self._wanted_ports = (rtsp_port, http_port)
        self._rtsp_port = self._http_port = 0
        self._faults = faults or CameraFaults()
        self._gate = DigestGate(realm=name, username=username, password=password) if password else None
        self._settings = (
            StreamSettings(
                codec=codec, width=width, height=height, fps=fps, gop=gop or fps, b_frames=b_frames
            )
            if source is None
            else source.settings
        )
        settings = self._faults.changed(self._settings)
        if source is not None and settings != self._settings:
            raise ValueError("a loop encoded beforehand cannot change: expected none of the faults change_…")
        sound = AudioLoop.make(audio) if audio else None
        self._main = self._profile(
            "main",
            STREAM_PATH,
            EncodedSource(source, offset=loop_offset) if source else LiveSource(settings, title=name),
            sound,
        )
        self._profiles = [self._main]
        if sub is not None:
            self._profiles.append(self._profile("sub", SUB_PATH, LiveSource(sub, title=name), sound))
        self._snapshot_canvas = Canvas(width=settings.width, height=settings.height, title=name)
        self._snapshot_lock = threading.Lock()
        self._rtsp = RtspServer(
            name=name,
            streams=[each.stream for each in self._profiles],
            gate=self._gate,
            faults=lambda: self._faults,
        )
        self._onvif = OnvifService(
            name=name,
            username=username,
            password=password,
            profiles=lambda: [each.offered() for each in self._profiles],
            rtsp_port=lambda: self._rtsp_port,
            http_port=lambda: self._http_port,
            faults=lambda: self._faults,
            media2=media2,
            media1_h265=media1_h265,
        )
        self._changing = asyncio.Lock()
        self._http: CameraHttp | None = None
        self._send_log_path = send_log
        self._send_log: IO[str] | None = None
        self._last_frame = 0

    def _profile(
        self, name: str, path: str, source: LiveSource | EncodedSource, sound: AudioLoop | None
    ) -> CameraProfile:
        return CameraProfile(
            token=f"profile_{name}",
            path=path,
            source=source,
            audio=sound,
            faults=lambda: self._faults,
            jpeg=self._draw_snapshot,
            on_frame=lambda frame, clients: self._sent(path, frame, clients),
        )

    @property
    def faults(self) -> CameraFaults:
        """What is wrong with it now; `set_faults` changes it."""
        return self._faults

    @property
    def description(self) -> StreamDescription:
        """Size, rate and parameter sets of the stream."""
        return self._main.description

    @property
    def rtsp_port(self) -> int:
        """The RTSP port, once started."""
        return self._rtsp_port

    @property
    def http_port(self) -> int:
        """The HTTP port (ONVIF, snapshot, control), once started."""
        return self._http_port

    onvif_port = http_port

    @property
    def rtsp_url(self) -> str:
        """The stream's address without log-in."""
        return f"rtsp://{self.host}:{self._rtsp_port}{STREAM_PATH}"

    @property
    def has_sub(self) -> bool:
        """Whether there is a sub stream."""
        return len(self._profiles) > 1

    @property
    def sub_url(self) -> str:
        """The sub stream's address without log-in, if there is one."""
        return f"rtsp://{self.host}:{self._rtsp_port}{SUB_PATH}"

    @property
    def rtsp_url_with_login(self) -> str:
        """The stream's address as most players want it."""
        login = f"{self.username}:{self.password}@" if self.password else ""
        return f"rtsp://{login}{self.host}:{self._rtsp_port}{STREAM_PATH}"

    @property
    def onvif_url(self) -> str:
        """The address of the ONVIF device service."""
        return f"http://{self.host}:{self._http_port}{DEVICE_PATH}"

    @property
    def snapshot_url(self) -> str:
        """The address of the snapshot (HTTP digest)."""
        return f"http://{self.host}:{self._http_port}{SNAPSHOT_PATH}"

    @property
    def connections(self) -> int:
        """Open RTSP connections."""
        return self._rtsp.connections

    @property
    def playing(self) -> int:
        """RTSP sessions that are being sent frames now."""
        return self._rtsp.playing

    @property
    def sessions_total(self) -> int:
        """RTSP sessions set up since the camera was made."""
        return self._rtsp.sessions_total

    @property
    def refused_logins(self) -> int:
        """RTSP requests with an Authorization header that were answered 401."""
        return self._rtsp.refused_logins

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for slow RTSP clients."""
        return self._rtsp.backlog_bytes

    async def start(self) -> None:
        """Open the ports and begin; raises OSError if a port is taken, and then nothing is left open."""
        if self._http is not None:
            raise RuntimeError(f"camera {self.name} is already started")
        http = CameraHttp(
            gate=self._gate,
            onvif=self._onvif,
            faults=lambda: self._faults,
            set_faults=self.set_faults,
            snapshot=self._take_snapshot,
            status=self._status,
        )
        rtsp_port, http_port = self._wanted_ports
        try:
            self._rtsp_port = await self._rtsp.listen(self.host, rtsp_port)
            self._http_port = await http.listen(self.host, http_port)
            if self._send_log_path is not None:
                self._send_log = self._send_log_path.open("a", encoding="utf-8")
        except OSError:
            self._rtsp.close_port()
            await http.stop()
            raise
        self._http = http
        if self._faults.refuse_connections:
            self._rtsp.close_port()
        for profile in self._profiles:
            profile.start(self._failed)

    async def stop(self) -> None:
        """Close everything; harmless when stopped or never started."""
        http, self._http = self._http, None
        if http is None:
            return
        self._rtsp.close_port()
        self._rtsp.cut_all()
        await http.stop()
        try:
            # All are stopped before the first failure is told.
            ended = await asyncio.gather(*(each.stop() for each in self._profiles), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error
        finally:
            if self._send_log is not None:
                self._send_log.close()
                self._send_log = None

    async def __aenter__(self) -> SimulatedCamera:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def set_faults(self, faults: CameraFaults | Mapping[str, object]) -> None:
        """Put other faults, or a document of them, in place of the present ones; they are in effect on return.

        Raises ValueError for an unknown fault or a change the camera cannot make, and then nothing is changed; OSError
        if the RTSP port was closed by `refuse_connections` and somebody took it meanwhile.
        """
        if not isinstance(faults, CameraFaults):
            faults = CameraFaults.from_json(dict(faults))
        async with self._changing:
            await self._change(faults)

    async def _change(self, faults: CameraFaults) -> None:
        settings, old = faults.changed(self._settings), self._main.source.settings
        await self._main.source.change(settings)
        if (settings.width, settings.height) != (old.width, old.height):
            canvas = Canvas(width=settings.width, height=settings.height, title=self.name)
            with self._snapshot_lock:
                self._snapshot_canvas = canvas
        before, self._faults = self._faults, faults
        if self._http is None:
            return
        if faults.refuse_connections and not before.refuse_connections:
            self._rtsp.close_port()
        if before.refuse_connections and not faults.refuse_connections:
            await self._rtsp.listen(self.host, self._rtsp_port)
        other_codec = faults.wrong_codec != before.wrong_codec or settings.codec != old.codec
        restarted = faults.change_cuts_sessions and settings != old
        if faults.refuse_connections or faults.drop_connections or other_codec or restarted:
            self._rtsp.cut_all()

    def cut_connections(self) -> None:
        """Reset the open RTSP connections once; the next ones are welcome."""
        self._rtsp.cut_all()

    def _sent(self, path: str, frame: Frame, clients: int) -> None:
        """Note a picture that was sent to so many clients of a stream."""
        if path == STREAM_PATH:
            self._last_frame = frame.number
        if clients and self._send_log is not None:
            line = {
                "camera": self.name,
                "stream": path,
                "frame": frame.number,
                "sent_at": round(time.time(), 6),
                "rtp": frame.rtp_timestamp & 0xFFFFFFFF,
                "key": frame.key,
                "clients": clients,
            }
            self._send_log.write(json.dumps(line) + "\n")
            if frame.key:
                self._send_log.flush()

    def _failed(self, error: BaseException) -> None:
        """Die as a camera dies; `stop` raises the reason to whoever started it."""
        _log.error("camera %s: its source ended: %r", self.name, error)
        self._rtsp.close_port()
        self._rtsp.cut_all()

    async def _take_snapshot(self) -> bytes:
        return await asyncio.to_thread(self._draw_snapshot)

    def _draw_snapshot(self) -> bytes:
        with self._snapshot_lock:
            return encode_jpeg(
                self._snapshot_canvas.draw(unix_ms=time.time_ns() // 1_000_000, frame=self._last_frame)
            )

    def _status(self) -> dict[str, object]:
        return {
            "name": self.name,
            "rtsp_url": self.rtsp_url,
            "connections": self.connections,
            "playing": self.playing,
            "sessions_total": self.sessions_total,
            "refused_logins": self.refused_logins,
            "frames": self._last_frame,
            "streams": [_stream_status(each) for each in self._profiles],
        }


def _stream_status(profile: CameraProfile) -> dict[str, object]:
    about = profile.description
    return {
        "path": profile.path,
        "codec": about.codec,
        "width": about.width,
        "height": about.height,
        "fps": about.fps,
        "gop": about.gop,
        "b_frames": about.b_frames,
        "audio": profile.audio and profile.audio.codec,
        "playing": profile.stream.playing,
    }
