"""Every camera as the gateway would see it: by a camera process of its own that lives as long as the probe."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from config.settings import Settings
from config.site import Camera
from drivers.cameras.parent.bank import SubprocessCameraBank
from gateway.app.commands.probe.second_streams import Second, second_streams
from gateway.app.commands.probe.table import Line, Result, Tell
from gateway.app.neighbours import camera_spec
from gateway.box.clock import SystemClock
from gateway.domain.camera import CameraHealth
from gateway.domain.errors import Unavailable

GIVEN_UP_S = 13.5
SAME_CAUSE_S = 2.5  # a camera that has told the same fault for so long will not mend itself in this probe
OPENING_CAUSES = 2  # the camera process is starting, the camera is being asked: what comes after is a result
OPENING_S = 12.0  # a camera that answers and sends no picture is known after two waits of 5 s
INTERVAL_WAIT_S = 4.0  # after the first picture: two key frames tell how far apart they are
LONG_INTERVAL_S = 4.5  # a clip begins up to one interval early, and a live picture is as late
CLOCK_OFF_S = 2.0
RATE_OVER_S = 2.0  # of the stream: less says nothing of what a camera sends in a month
RATE_WAIT_S = 4.0
RING_S = 25.0
RING_BYTES = 512 * 1024 * 1024


async def probe_cameras(settings: Settings, tell: Tell, rates: dict[str, float]) -> None:
    """A line a camera; ``rates`` is given what each one really sends, in bytes a second, where that was seen."""
    site = settings.site
    if not site.cameras:
        return
    mapped = {camera.id for point in site.points for camera in site.cameras_of(point)}
    seconds = second_streams(site.cameras)
    with tempfile.TemporaryDirectory(prefix="campus-probe-") as spool:
        bank = SubprocessCameraBank(
            [*(camera_spec(camera) for camera in site.cameras), *(each.spec for each in seconds)],
            ring_s=RING_S,
            ring_bytes_total=RING_BYTES,
            spool=Path(spool),
            clock=SystemClock(),
        )
        async with _running(bank):
            await asyncio.gather(
                *(_camera(bank, c, c.id in mapped, tell, rates) for c in site.cameras),
                *(_second(bank, each, tell) for each in seconds),
            )


@contextlib.asynccontextmanager
async def _running(bank: SubprocessCameraBank) -> AsyncIterator[None]:
    await bank.start()
    running = asyncio.create_task(bank.run())
    try:
        yield
    finally:
        await bank.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _second(bank: SubprocessCameraBank, second: Second, tell: Tell) -> None:
    """What is wrong with it costs no alarm: while room is short the main stream is recorded on, and nothing is shown live."""
    health = await _first_picture(bank, second.spec.id)
    if isinstance(health, str):
        tell(Line(second.what, Result.FAIL, health))
        return
    shown = f"{_codec(health.codec or '')} {health.width}×{health.height}"
    main = await _first_picture(bank, second.camera)
    trouble = ""
    if second.key == "live_url" and not (health.codec or "").startswith("avc1"):
        trouble = "browsers do not play it: set this stream to H.264"
    elif second.key == "sub_url" and not isinstance(main, str) and _pixels(health) >= _pixels(main):
        trouble = f"it is no smaller than the main stream ({main.width}×{main.height}): name another, or set it smaller"
    tell(Line(second.what, Result.WARN if trouble else Result.OK, "; ".join(filter(None, [shown, trouble]))))


def _pixels(health: CameraHealth) -> int:
    return (health.width or 0) * (health.height or 0)


async def _first_picture(bank: SubprocessCameraBank, camera: str) -> CameraHealth | str:
    """The camera's health once pictures come, or why none do, in the words in which the running gateway tells the fault."""
    clock = SystemClock()
    began = clock.monotonic()
    same_since, cause, causes = began, "", 0
    while True:
        health = bank.health()[camera]
        now = clock.monotonic()
        if health.healthy and health.codec:
            return health
        if health.cause != cause:
            same_since, cause, causes = now, health.cause, causes + 1
        told = causes > OPENING_CAUSES or now - began > OPENING_S
        if now - began > GIVEN_UP_S or (told and now - same_since > SAME_CAUSE_S):
            return cause or "no picture; check its address and network"
        await clock.sleep(0.05)


async def _camera(
    bank: SubprocessCameraBank, told: Camera, mapped: bool, tell: Tell, rates: dict[str, float]
) -> None:
    camera, clock = told.id, SystemClock()
    what, began = f"camera 摄像机 {camera}", clock.monotonic()
    health = await _first_picture(bank, camera)
    if isinstance(health, str):
        tell(Line(what, Result.FAIL, health, mapped))
        return
    first_s = clock.monotonic() - began
    interval_s = await _key_frame_interval(bank, camera, clock)
    snapshot = await _snapshot(bank, camera, health)
    seen = await _filled(bank, camera, clock)
    if seen.ring_s >= RATE_OVER_S:
        rates[camera] = seen.ring_bytes / seen.ring_s
    warnings = camera_warnings(seen, interval_s, by_onvif=told.onvif is not None)
    shown = (
        f"{_codec(health.codec or '')} {health.width}×{health.height}, first picture after {first_s:.1f} s, key frame "
        + (f"every {interval_s:.1f} s" if interval_s else f"none again within {INTERVAL_WAIT_S:.0f} s")
        + f", clock {_signed(bank.health()[camera].clock_offset_s)}, {snapshot}"
    )
    detail = "; ".join([shown, *warnings])
    tell(Line(what, Result.WARN if warnings else Result.OK, detail, mapped))


def camera_warnings(health: CameraHealth, interval_s: float | None, *, by_onvif: bool) -> list[str]:
    """What is to be mended in a camera that gives pictures."""
    warnings = []
    if interval_s is None or interval_s > LONG_INTERVAL_S:
        warnings.append("set its key-frame interval to 1–2 s: clips and live pictures begin at key frames")
    offset_s = health.clock_offset_s
    if offset_s is None and by_onvif:
        warnings.append("its clock cannot be read: set its date and time, and an NTP server")
    if offset_s is not None and abs(offset_s) > CLOCK_OFF_S:
        warnings.append("its clock is off: point it at an NTP server (times in evidence are the gateway's)")
    if health.live_note.startswith("no live picture"):
        warnings.append(health.live_note)
    return warnings


def _codec(codec: str) -> str:
    """RFC 6381 names the profile and level as well; people know it by its first part."""
    spoken = {"avc1": "H.264", "hvc1": "H.265"}.get(codec.partition(".")[0])
    return f"{spoken} ({codec})" if spoken else codec


def _signed(offset_s: float | None) -> str:
    return "not told" if offset_s is None else f"{offset_s:+.1f} s"


async def _key_frame_interval(bank: SubprocessCameraBank, camera: str, clock: SystemClock) -> float | None:
    """Seconds between key frames, read off two of them; ``None`` if no second one came in time."""
    until = clock.monotonic() + INTERVAL_WAIT_S
    while clock.monotonic() < until:
        apart_s = bank.health()[camera].key_frames_apart_s
        if apart_s is not None:
            return apart_s
        await clock.sleep(0.2)
    return None


async def _filled(bank: SubprocessCameraBank, camera: str, clock: SystemClock) -> CameraHealth:
    """What is known of the camera once its ring has enough of the stream to tell its rate, or that does not come."""
    until = clock.monotonic() + RATE_WAIT_S
    while (health := bank.health()[camera]).ring_s < RATE_OVER_S and clock.monotonic() < until:
        await clock.sleep(0.1)
    return health


async def _snapshot(bank: SubprocessCameraBank, camera: str, health: CameraHealth) -> str:
    if not health.offers_snapshot:
        return "no snapshot offered"
    try:
        async with asyncio.timeout(5):
            taken = await bank.fetch_snapshot(camera)
    except TimeoutError:
        return "snapshot offered, but not answered within 5 s"
    except Unavailable as exc:
        return f"snapshot offered, but not had: {exc.reason}"
    return f"snapshot of {len(taken.jpeg) // 1024} KiB"
