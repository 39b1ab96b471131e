"""H.264 and H.265 under one face: how frames are told apart, stamped, packetized and described."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from simulators.camera import h264, h265
from simulators.camera.h264 import StreamDescription
from simulators.camera.rtp import VIDEO_PAYLOAD_TYPE, PreparedFrame, packetize_h264, packetize_h265
from simulators.camera.settings import StreamSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What differs from one codec to the other."""

    sdp_name: str
    encoder: str
    """FFmpeg's name of the encoder."""
    is_key: Callable[[list[bytes]], bool]
    is_slice: Callable[[bytes], bool]
    is_sei: Callable[[bytes], bool]
    begins_frame: Callable[[bytes], bool]
    """Whether the unit, behind a slice, can only belong to the next frame."""
    stamped: Callable[[list[bytes], int], list[bytes]]
    stamp: Callable[[int], bytes]
    packetize: Callable[[list[bytes]], list[bytes]]


CODECS = {
    "h264": Codec(
        sdp_name="H264",
        encoder="libx264",
        is_key=h264.is_key,
        is_slice=lambda nal: 1 <= h264.nal_type(nal) <= h264.NAL_IDR,
        is_sei=lambda nal: h264.nal_type(nal) == h264.NAL_SEI,
        # SEI, parameter sets, delimiter (7.4.1.2.3).
        begins_frame=lambda nal: 6 <= h264.nal_type(nal) <= 9,
        stamped=h264.stamped,
        stamp=h264.frame_stamp,
        packetize=packetize_h264,
    ),
    "h265": Codec(
        sdp_name="H265",
        encoder="libx265",
        is_key=h265.is_key,
        is_slice=h265.is_slice,
        is_sei=lambda nal: h265.nal_type(nal) == h265.NAL_PREFIX_SEI,
        # Parameter sets, delimiter, prefix SEI (7.4.2.4.4).
        begins_frame=lambda nal: 32 <= h265.nal_type(nal) <= 35 or h265.nal_type(nal) == 39,
        stamped=h265.stamped,
        stamp=h265.frame_stamp,
        packetize=packetize_h265,
    ),
}


def prepared(codec: str, nals: list[bytes]) -> PreparedFrame:
    """Lay a stamped frame out for sending."""
    return PreparedFrame.of(CODECS[codec].packetize(nals), payload_type=VIDEO_PAYLOAD_TYPE)


def described(settings: StreamSettings, key_frame: list[bytes]) -> StreamDescription:
    """Return what clients are told about a stream with this key frame; raises ValueError without parameter sets."""
    vps = b""
    if settings.codec == "h265":
        vps, sps, pps = h265.parameter_sets(key_frame)
    else:
        sps, pps = h264.parameter_sets(key_frame)
    return StreamDescription(
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        gop=settings.gop,
        codec=settings.codec,
        b_frames=settings.b_frames,
        vps=vps,
        sps=sps,
        pps=pps,
    )


def format_parameters(about: StreamDescription) -> str:
    """Return the parameters of the SDP's fmtp line (RFC 6184, 8.2.1; RFC 7798, 7.1)."""
    if about.codec == "h265":
        sets = (("vps", about.vps), ("sps", about.sps), ("pps", about.pps))
        return ";".join(f"sprop-{name}={base64.b64encode(unit).decode()}" for name, unit in sets)
    units = ",".join(base64.b64encode(unit).decode() for unit in (about.sps, about.pps))
    return f"packetization-mode=1;profile-level-id={about.profile_level_id};sprop-parameter-sets={units}"
