"""ONVIF: from a device's address to the addresses of its stream and snapshot, and the state of its clock.

Runs in a short-lived process (``onvif_resolve``): the SOAP library takes 1 s to load and 56 MB, and is wanted for a moment at
start and then hardly ever.

Verified against the simulated camera; sources: ONVIF Core, Media (ver10) and Media2 (ver20) specifications, WS-Security
UsernameToken 1.0.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import zeep.exceptions
from onvif import ONVIFCamera
from onvif.exceptions import ONVIFError

from drivers.cameras.door import stream_at, web_places
from drivers.cameras.media2 import Media2, Profile
from drivers.cameras.spec import OnvifAddress
from gateway.domain.errors import Refused, Unavailable

DEADLINE_S = 10.0
"""For all questions to one camera together; a good one answers them in half a second."""

MOST_PIXELS = 1920 * 1080
"""A larger picture would take more memory and decoding for every still than 16 cameras can be given on two cores."""


SUB_S = 2.0
LEAST_PIXELS = 352 * 288
"""CIF: ours; the third streams some cameras have for telephones are smaller, and show that somebody was there, not who."""

PLAYABLE = "H264"
USABLE = (PLAYABLE, "H265")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Where a camera's pictures are, as reached from here. ``clock_offset_s`` is its clock minus ours, told in whole
    seconds by the camera. ``live_url`` is its H.264 stream besides the main one, ``sub_url`` one of a smaller picture; ``None``
    if there is none."""

    stream_url: str
    snapshot_url: str | None
    clock_offset_s: float | None
    profile: str
    live_url: str | None = None
    sub_url: str | None = None


def choose(profiles: Sequence[Profile]) -> Profile:
    """The profile for evidence: the most pixels up to 1080p, then the most frames, then H.264; the smallest if all are larger.

    Raises ``Unavailable`` naming what there is if none is H.264 or H.265.
    """
    usable = [profile for profile in profiles if profile.encoding in USABLE]
    if not usable:
        found = ", ".join(str(profile) for profile in profiles) or "none at all"
        raise Unavailable(
            f"the camera offers no H.264 or H.265 profile (found: {found}): set one of its profiles to H.264"
        )
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


async def resolve(address: OnvifAddress) -> Resolved:
    """Ask one camera. Raises ``Refused`` on wrong credentials, ``Unavailable`` with the reason for anything else."""
    camera = ONVIFCamera(
        address.host,
        address.port,
        address.username,
        address.password,
        no_cache=True,  # or it writes a database into the home directory
        adjust_time=True,  # the camera's time is asked without log-in first, and tokens are made in it
        nat_override=True,
    )
    where = f"ONVIF at {address.host}:{address.port}"
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await _ask(camera, address)
    except TimeoutError:
        raise Unavailable(f"{where} did not finish answering in {DEADLINE_S:.0f} s") from None
    except (zeep.exceptions.Error, ONVIFError) as exc:
        if _is_refusal(exc):
            raise Refused(f"{where} refuses user name or password: correct them in the site file") from exc
        raise Unavailable(f"{where}: {exc}") from exc
    except (aiohttp.ClientError, OSError) as exc:
        raise Unavailable(f"{where} cannot be reached: {exc}") from exc
    finally:
        await camera.close()


async def _ask(camera: Any, address: OnvifAddress) -> Resolved:
    await camera.update_xaddrs()
    media = await camera.create_media_service()
    # Some cameras take HTTP digest only, some WS-Security only; both are offered. The library knows the latter alone.
    async with aiohttp.ClientSession(
        middlewares=(aiohttp.DigestAuthMiddleware(address.username, address.password),)
        if address.username
        else ()
    ) as session:
        media.transport.session, own = session, media.transport.session
        try:
            answered = await _ask_media(camera, media, address)
        finally:
            media.transport.session = own
    offset = camera.dt_diff
    return replace(answered, clock_offset_s=None if offset is None else offset.total_seconds())


async def _ask_media(camera: Any, media: Any, address: OnvifAddress) -> Resolved:
    """By the second media service where the camera has it: the first cannot name H.265. What it refuses is asked of the first."""
    second = Media2.of(camera, media)
    profiles: list[Profile] = []
    if second is not None:
        with contextlib.suppress(Unavailable):
            profiles = await second.profiles()
    if not any(profile.encoding in USABLE for profile in profiles):
        second, profiles = None, [_profile(each) for each in await media.GetProfiles()]
    main = choose(profiles)
    live, sub = choose_live(profiles, main), choose_sub(profiles, main)

    async def stream_url(profile: Profile) -> str:
        if second is not None:
            with contextlib.suppress(Unavailable):
                return stream_at(await second.uri("GetStreamUri", profile.token), address.host)
        setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        answer = await media.GetStreamUri({"StreamSetup": setup, "ProfileToken": profile.token})
        return stream_at(answer.Uri, address.host)

    async def sub_url(known: str | None) -> str | None:
        if sub is None or (live is not None and live.token == sub.token):
            return known if sub is not None else None
        try:  # what is wanted on a full disk only must not cost the camera
            async with asyncio.timeout(SUB_S):
                return await stream_url(sub)
        except (zeep.exceptions.Error, ONVIFError, aiohttp.ClientError, TimeoutError):
            return None

    main_url = await stream_url(main)
    live_url = await stream_url(live) if live is not None else None
    return Resolved(
        stream_url=main_url,
        snapshot_url=await _snapshot_url(media, second, main.token, address),
        clock_offset_s=None,
        profile=str(main),
        live_url=live_url,
        sub_url=await sub_url(live_url),
    )


async def _snapshot_url(media: Any, second: Media2 | None, token: str, address: OnvifAddress) -> str | None:
    """As the camera names it: where it is had is judged when it is fetched. ``None`` if there is none, or none by HTTP (some
    name their RTSP stream)."""
    url = None
    if second is not None:
        with contextlib.suppress(Unavailable):
            url = await second.uri("GetSnapshotUri", token)
    if url is None:
        with contextlib.suppress(zeep.exceptions.Fault):  # optional in ONVIF: the camera offers none
            answer = await media.GetSnapshotUri({"ProfileToken": token})
            url = answer.Uri if answer else None
    if not url:
        return None
    with contextlib.suppress(Unavailable):
        web_places(url, address.host, address.port, "snapshot")
        return str(url)
    return None


def _profile(answer: Any) -> Profile:
    encoder = answer.VideoEncoderConfiguration
    if encoder is None:
        return Profile(token=answer.token, encoding="no video", width=0, height=0, frames_per_s=0.0)
    rate = encoder.RateControl
    return Profile(
        token=answer.token,
        encoding=str(encoder.Encoding),
        width=int(encoder.Resolution.Width),
        height=int(encoder.Resolution.Height),
        frames_per_s=float(rate.FrameRateLimit) if rate is not None else 0.0,
    )


def _is_refusal(exc: Exception) -> bool:
    if isinstance(exc, zeep.exceptions.Fault):
        names = [str(getattr(code, "text", code)) for code in exc.subcodes or []]
        return any("NotAuthorized" in name or "FailedAuthentication" in name for name in names)
    return getattr(exc, "status_code", None) in (401, 403)
