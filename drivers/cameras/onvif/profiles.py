"""Media profiles of a camera: how the answers of both media services are read, and which profile is taken for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drivers.cameras.onvif.soap import child, descendants, text_at
from gateway.domain.errors import Unavailable

MOST_PIXELS = 1920 * 1080
"""A larger picture would take more memory and decoding for every still than 16 cameras can be given on two cores."""

LEAST_PIXELS = 352 * 288
"""CIF: ours; the third streams some cameras have for telephones are smaller, and show that somebody was there, not who."""

PLAYABLE = "H264"
USABLE = (PLAYABLE, "H265")

MOST_PROFILES = 64
"""Taken of one answer; cameras with several heads have some thirty."""

_LARGEST_SIDE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What matters of a media profile. ``encoding`` is ONVIF's name (``H264``, ``H265``, ``JPEG``, …); a size or rate of 0 was
    not told, or not so that it can be believed."""

    token: str
    encoding: str
    width: int
    height: int
    frames_per_s: float

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}" if self.pixels else "of a size it does not tell"
        return (
            f"{self.encoding or 'no video'} {size}"
            if self.encoding in USABLE or self.pixels
            else self.encoding
        )


def profiles_of(answer: Any) -> list[Profile]:
    """All profiles of an answer to GetProfiles of either service; one without a token cannot be asked for and is left out."""
    found = [_profile(each) for each in descendants(answer, "Profiles")]
    return [each for each in found if each.token][:MOST_PROFILES]


def _profile(answer: Any) -> Profile:
    token = str(answer.get("token") or "").strip()
    encoder = child(answer, "VideoEncoderConfiguration")
    if encoder is None:
        encoder = child(answer, "Configurations", "VideoEncoder")
    if encoder is None:
        return Profile(token=token, encoding="no video", width=0, height=0, frames_per_s=0.0)
    width, height = (_number(text_at(encoder, "Resolution", each)) for each in ("Width", "Height"))
    sized = 0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE
    return Profile(
        token=token,
        encoding=_encoding(text_at(encoder, "Encoding")),
        width=int(width) if sized else 0,
        height=int(height) if sized else 0,
        frames_per_s=_number(text_at(encoder, "RateControl", "FrameRateLimit")),
    )


def _encoding(told: str) -> str:
    name = told.upper().replace(".", "").replace("-", "")
    if name.startswith(("H265", "HEVC")):
        return "H265"
    return "H264" if name.startswith(("H264", "AVC")) else told[:40] or "no codec named"


def _number(text: str) -> float:
    """What can be believed of a number; 0 for all else."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def choose(profiles: Sequence[Profile]) -> Profile:
    """The profile for evidence: the most pixels up to 1080p, then the most frames, then H.264; the smallest if all are larger.
    One whose size is not told is taken only where there is no other.

    Raises ``Unavailable`` naming what there is if none is H.264 or H.265.
    """
    usable = [profile for profile in profiles if profile.encoding in USABLE]
    if not usable:
        found = ", ".join(str(profile) for profile in profiles) or "none at all"
        raise Unavailable(
            f"the camera offers no H.264 or H.265 profile (found: {found}): set one of its profiles to H.264"
        )
    usable = [profile for profile in usable if profile.pixels] or usable
    fitting = [profile for profile in usable if profile.pixels <= MOST_PIXELS]
    if not fitting:
        return min(usable, key=lambda profile: (profile.pixels, profile.encoding != PLAYABLE))
    return max(fitting, key=lambda p: (p.pixels, p.frames_per_s, p.encoding == PLAYABLE))


def choose_live(profiles: Sequence[Profile], main: Profile) -> Profile | None:
    """The profile for live pictures where the main one turns out to be H.265, as some are that call themselves H.264."""
    others = [each for each in profiles if each.encoding == PLAYABLE and each.token != main.token]
    return choose(others) if others else None


def choose_sub(profiles: Sequence[Profile], main: Profile) -> Profile | None:
    """The profile to be recorded while room is short: the smallest picture that still tells one person from another (CIF), else
    the largest below it; always smaller than the main one."""
    smaller = [p for p in profiles if p.encoding in USABLE and 0 < p.pixels < main.pixels]
    useful = [p for p in smaller if p.pixels >= LEAST_PIXELS]
    if useful:
        return min(useful, key=lambda p: (p.pixels, p.frames_per_s, p.encoding == PLAYABLE))
    return max(smaller, key=lambda p: p.pixels, default=None)
