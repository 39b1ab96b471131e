"""What is served under one path: tracks of picture and sound, and who receives them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simulators.camera.rtp import PreparedFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of picture or packet of sound on its way to the clients."""

    prepared: PreparedFrame
    number: int
    """A picture's counts from 0 since the camera started."""
    key: bool
    rtp_timestamp: int
    taken_at_s: float
    """Unix time at which the picture was taken or the sound begins."""


class MediaTrack:
    """One medium. Its sequence numbers are the camera's, not the client's: what a client misses shows as RTP loss."""

    def __init__(self, control: str, *, picture: bool, describe: Callable[[], list[str]]) -> None:
        self.control = control
        """The last part of its URL."""
        self.picture = picture
        """Whether a receiver must begin with a key frame."""
        self.describe = describe
        """Return its lines of the SDP from m= on, without a=control."""
        self.ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)

    def next_sequence(self, packets: int) -> int:
        """Return the first of so many sequence numbers."""
        first = self._sequence
        self._sequence = (first + packets) & 0xFFFF
        return first


class Receiver(Protocol):
    """A session as a stream sees it."""

    def channel_of(self, track: MediaTrack) -> int | None:
        """Return the interleaved channel on which it wants the track, None if not at all."""

    def send(self, track: MediaTrack, frame: Frame, wire: bytes) -> bool:
        """Write a frame or leave it out; tell whether it was written."""


class MediaStream:
    """One path with its tracks."""

    def __init__(self, path: str, tracks: Sequence[MediaTrack], *, on_playing: Callable[[int], None]) -> None:
        self.path = path
        self.tracks = tuple(tracks)
        self._on_playing = on_playing
        self._playing: set[Receiver] = set()

    @property
    def playing(self) -> int:
        """Sessions that are being sent frames."""
        return len(self._playing)

    def play(self, receiver: Receiver) -> None:
        """Begin sending to a session."""
        if receiver not in self._playing:
            self._playing.add(receiver)
            self._on_playing(len(self._playing))

    def silence(self, receiver: Receiver) -> None:
        """Stop sending to a session."""
        if receiver in self._playing:
            self._playing.discard(receiver)
            self._on_playing(len(self._playing))

    def publish(self, track: MediaTrack, frame: Frame) -> int:
        """Send a frame to every session that plays the track; return how many it was written to."""
        first = track.next_sequence(frame.prepared.packets)
        rendered: dict[int, bytes] = {}
        sent_to = 0
        for receiver in list(self._playing):
            channel = receiver.channel_of(track)
            if channel is None:
                continue
            if channel not in rendered:
                rendered[channel] = frame.prepared.on_wire(
                    channel=channel,
                    sequence=first,
                    timestamp=frame.rtp_timestamp,
                    ssrc=track.ssrc,
                    frame=frame.number,
                )
            sent_to += receiver.send(track, frame, rendered[channel])
        return sent_to

    def sdp(self, *, name: str, host: str) -> str:
        """Describe the stream (RFC 4566)."""
        lines = [
            "v=0",
            f"o=- {self.tracks[0].ssrc} 1 IN IP4 {host}",
            f"s={name}",
            "c=IN IP4 0.0.0.0",
            "t=0 0",
            "a=control:*",
            "a=range:npt=now-",
        ]
        for track in self.tracks:
            lines += [*track.describe(), f"a=control:{track.control}"]
        return "\r\n".join(lines) + "\r\n"
