"""The recordings page in a real browser, over what a simulated camera's stream was really recorded as."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.plan import Camera
from gateway.domain.recording import GapCause, Segment, segment_key
from simulators.camera.faults import CameraFaults
from tests.integration.test_exports import SECONDS, film, fingerprint, verify
from tests.support.browser import chromium, opened_page
from tests.support.holds import span_held
from tests.support.http_face import TOKEN_OF, Face, HandClock, school_site, served
from tests.support.recorder import recording, simulated, stream_of

WHO = {"name": "李老师", "unit": "第三中学", "reason": "核查门口纠纷"}
PLAYS = (
    "at => { const v = document.getElementById('video'); return v.videoWidth === 320 && v.currentTime > at; }"
)
SAYS = "words => { const m = document.getElementById('message'); return !m.hidden && m.innerText.includes(words); }"
WITHOUT_H265 = """
const plays = MediaSource.isTypeSupported;
MediaSource.isTypeSupported = kind => !/hvc1|hev1/.test(kind) && plays.call(MediaSource, kind);
"""
#: How far the brightest and the darkest part of the picture lie apart, of 255.
CONTRAST = """() => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [32, 18];
    const context = canvas.getContext("2d");
    context.drawImage(document.getElementById("video"), 0, 0, 32, 18);
    const pixels = context.getImageData(0, 0, 32, 18).data.filter((_, at) => at % 4 === 1);
    return Math.max(...pixels) - Math.min(...pixels);
}"""


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of some seconds each from before and after a time in which the camera could not be reached."""
    chromium()
    folder = tmp_path_factory.mktemp("footage")

    async def record() -> None:
        async with simulated() as camera, recording(folder, stream_of(camera)) as school:
            await school.until(lambda segments, _: len(segments) >= 3, 40, "three recordings")
            await camera.set_faults(CameraFaults(refuse_connections=True))
            await school.until(
                lambda _, gaps: any(gap.end is None for gap in gaps), 20, "the camera is missed"
            )
            await camera.set_faults(CameraFaults())
            count = len((await school.ledger())[0])
            await school.until(lambda segments, _: len(segments) >= count + 3, 40, "three more")

    asyncio.run(record())
    return folder


@asynccontextmanager
async def school_at(footage: Path, directory: Path) -> AsyncIterator[Face]:
    """The HTTP face over a copy of the footage, in a school where it is noon or so, whatever the time is here."""
    shutil.copytree(footage, directory, dirs_exist_ok=True)
    clock = HandClock()
    clock.at = datetime.now(UTC)
    plan = school_site()
    plan = replace(
        plan,
        cameras={"cam": Camera(id="cam", name="南门枪机", zone="gate-south", continuous=True)},
        points={},
        timezone=f"Etc/GMT{clock.at.hour - 12:+d}",
    )
    async with served(directory, clock=clock, site=plan) as face:
        yield face


async def sign_in(page: Any, face: Face, role: str) -> None:
    await page.goto(f"{face.base}/recordings")
    await page.locator("#token").fill(TOKEN_OF[role])
    for field, value in WHO.items():
        await page.locator(f"#{field}").fill(value)
    await page.locator("#sign-in button").click()


async def open_day(page: Any) -> None:
    """The day recorded, from its cell of the overview."""
    await page.locator(".cell").last.click()
    await page.locator("#gaps button").first.wait_for()


async def lines(face: Face, act: str) -> list[dict[str, Any]]:
    found = (await face.ask("/api/v1/access-register", role="inspector", params={"limit": 1000})).json
    return [line for line in found["lines"] if line["act"] == act]


def on_page(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make ``async def test(page, face)`` a test over a copy of the footage; it fails if the page's scripts did."""

    def run(footage: Path, tmp_path: Path) -> None:
        async def inside() -> None:
            errors: list[str] = []
            async with school_at(footage, tmp_path) as face, opened_page(within_ms=30_000) as page:
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.on("console", lambda said: errors.append(said.text) if "Policy" in said.text else None)
                await test(page, face)
                assert errors == []

        asyncio.run(inside())

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run


@on_page
async def test_before_signing_in_there_is_nothing_but_the_form(page: Any, face: Face) -> None:
    """No name of the school or of a camera, nothing asked of the API, a strict policy; a wrong token is said in words; after
    signing out it is so again, and a reload does not bring anything back."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))

    async def only_the_form() -> None:
        assert await page.locator("#sign-in").is_visible()
        assert await page.locator("main section:visible").count() == 0
        text = await page.evaluate("document.body.textContent + document.title")
        for secret in ("第三中学", "南门枪机", "李老师", "网络不通", TOKEN_OF["guard"]):
            assert secret not in text

    answer = await page.goto(f"{face.base}/recordings")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-store"
    await only_the_form()
    assert not [path for path in asked if path.startswith("/api")]
    await page.locator("#token").fill("wrong")
    for field, value in WHO.items():
        await page.locator(f"#{field}").fill(value)
    await page.locator("#sign-in button").click()
    await page.get_by_text("令牌不正确").wait_for()
    assert await page.locator("#sign-in").is_visible()
    await sign_in(page, face, "guard")
    await open_day(page)
    await page.reload()
    await page.locator("#gaps button").first.wait_for()
    await page.locator("#sign-out").click()
    await only_the_form()
    await page.reload()
    await only_the_form()
    assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@on_page
async def test_what_was_recorded_plays_with_its_gap_said_and_one_line_for_it(page: Any, face: Face) -> None:
    """A gap is seen with its cause, by keyboard and by pointer; the picture moves and is one; playing over the gap says so;
    however one moves in it, it is one opening. The token stands in no address, and nobody else is asked."""
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request))
    segments, gaps = await face.store.read(
        lambda tx: (
            tx.recordings.segments("cam", face.clock.at - timedelta(days=1), face.clock.at),
            tx.recordings.gaps("cam", face.clock.at - timedelta(days=1), face.clock.at),
        )
    )
    (gap,) = [one for one in gaps if one.cause is GapCause.NETWORK]
    await sign_in(page, face, "guard")
    today = page.locator(".cell").last
    assert "网络不通" in await today.get_attribute("aria-label")
    assert await today.locator("i.network").count() == 1
    await open_day(page)
    listed = await page.locator("#gaps button", has_text="网络不通").inner_text()
    stamp = face.parts.envelopes.stamp
    assert stamp(gap.start)[11:19] in listed
    assert await page.locator("#strip rect[fill='url(#p-network)']").count() == 1
    await page.locator("#strip").focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("n")
    told = await page.locator("#strip").get_attribute("aria-valuetext")
    assert "网络不通" in told, told
    hour = await page.locator("#hour .board").bounding_box()
    part = (gap.start.minute * 60 + gap.start.second) / 3600
    await page.mouse.move(hour["x"] + hour["width"] * part, hour["y"] + 10)
    assert "网络不通" in await page.locator("#tip").inner_text()
    assert await lines(face, "played") == []

    await page.keyboard.press("Home")
    first = segments[0].start.replace(second=0, microsecond=0)
    part = first.minute / 60 + 0.001
    for _ in range(stamp_hour(face, first)):
        await page.keyboard.press("PageUp")
    hour = await page.locator("#hour .board").bounding_box()
    await page.mouse.click(hour["x"] + hour["width"] * part, hour["y"] + 10)
    await page.wait_for_function(PLAYS, arg=0.5)
    at = await page.evaluate("document.getElementById('video').currentTime")
    await page.wait_for_function(PLAYS, arg=at + 1)
    assert await page.evaluate(CONTRAST) > 60
    shown = await page.locator("#clock").get_attribute("datetime")
    assert segments[0].start <= datetime.fromisoformat(shown) <= segments[-1].end
    await page.locator("#speed").select_option("4")
    await page.wait_for_function(SAYS, arg="缺口")
    await page.mouse.click(hour["x"] + hour["width"] * part, hour["y"] + 10)
    await page.wait_for_function("() => document.getElementById('video').currentTime < 5")

    (viewed,), (played,) = await lines(face, "viewed"), await lines(face, "played")
    for line in (viewed, played):
        assert {key: line[key] for key in ("name", "unit", "reason", "right")} == {**WHO, "right": "guard"}
    assert (viewed["content"], played["content"]) == ("recordings of cam", "cam")
    for request in asked:
        assert TOKEN_OF["guard"] not in request.url
        assert request.url.startswith(("blob:", "data:", face.base))
        assert "referer" not in await request.all_headers()
    assert TOKEN_OF["guard"] not in page.url


def stamp_hour(face: Face, at: datetime) -> int:
    """The hour on the school's clocks."""
    return int(face.parts.envelopes.stamp(at)[11:13])


@on_page
async def test_an_export_is_downloaded_and_anybody_can_check_it(page: Any, face: Face) -> None:
    """The verifier is content with what the browser saved; it is one line with its own reason, and the page says how to check."""
    await sign_in(page, face, "inspector")
    await open_day(page)
    begin, end = (
        await face.store.read(lambda tx: tx.recordings.first("cam")),
        await face.store.read(lambda tx: tx.recordings.reaches("cam")),
    )
    stamp = face.parts.envelopes.stamp
    await page.locator("#from").fill(stamp(begin)[:19])
    await page.locator("#to").fill(stamp(end)[:19])
    await page.locator("#export-reason").fill("案件 2026-17")
    assert "约" in await page.locator("#estimate").inner_text()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="导出 ZIP").click()
    target = face.directory / "saved.zip"
    await (await waiting.value).save_as(target)
    done = await asyncio.to_thread(verify, target, "--key", fingerprint(face))
    assert done[0] == 0, done[1]
    assert "gap" in done[1]
    await page.get_by_text("campus-gateway verify").wait_for()
    assert target.stat().st_size > 10_000
    (line,) = await lines(face, "exported")
    assert (line["name"], line["unit"], line["reason"]) == ("李老师", "第三中学", "案件 2026-17")
    await page.locator("#to").fill("2030-01-01T00:00:00")
    assert await page.get_by_role("button", name="导出 ZIP").is_disabled()


@on_page
async def test_each_role_sees_what_it_may(page: Any, face: Face) -> None:
    """Forecast and holds for technician and inspector, the export for them; a guard is asked for neither and told who exports;
    the centre is told that this is not its page. A hold marks the days it touches by the school's clock, and no others: of
    those held here one is held soon after it begins and one shortly before it ends."""
    now = face.clock.at
    today = now.astimezone(ZoneInfo(face.parts.site.timezone)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    held = {
        now - timedelta(hours=1): today,
        today - timedelta(days=3, minutes=-15): today - timedelta(days=3),
        today - timedelta(days=6, minutes=30): today - timedelta(days=7),
    }
    holds = [
        span_held("cam", start, start + timedelta(minutes=15), at=now, id=f"hld_{number}")
        for number, start in enumerate(held)
    ]
    await face.store.write(lambda tx: [tx.holds.place(hold) for hold in holds])
    days = sorted(f"{day:%Y-%m-%d}" for day in held.values())
    for role, upkeep in (("guard", False), ("technician", True), ("inspector", True)):
        asked: list[int] = []

        def note(answer: Any, asked: list[int] = asked) -> None:
            asked.append(answer.status)

        page.on("response", note)
        await sign_in(page, face, role)
        await page.locator(".cell.held" if upkeep else ".cell").last.wait_for()
        await page.wait_for_load_state("networkidle")
        sums = await page.locator("#sums").inner_text()
        assert ("空间预计" in sums, "保全" in sums) == (upkeep, upkeep), role
        marked = await page.locator(".cell.held").evaluate_all("cells => cells.map(cell => cell.dataset.day)")
        assert marked == (days if upkeep else [])
        await open_day(page)
        assert await page.locator("#export").is_visible() == upkeep
        assert await page.locator("#no-export").is_visible() != upkeep
        assert await page.locator("#strip .holds i").count() == int(upkeep)
        assert max(asked) < 400, "nothing is asked for that the role may not have"
        page.remove_listener("response", note)
        await page.locator("#sign-out").click()
    await sign_in(page, face, "centre")
    await page.get_by_text("不用于查阅录像").wait_for()
    assert await page.locator("main section:visible").count() == 0


@on_page
async def test_it_speaks_the_language_of_the_browser_and_of_the_switch(page: Any, face: Face) -> None:
    """English where it is preferred, Chinese otherwise; the switch changes all that is shown."""
    for accepted, language in (
        ("en-GB,en;q=0.9,zh;q=0.5", "en"),
        ("fr, *;q=0.1", "zh-CN"),
        ("en;q=0.1, zh-TW", "zh-CN"),
    ):
        told = await face.ask("/recordings", headers={"Accept-Language": accepted})
        assert f'<html lang="{language}">' in told.body.decode(), accepted
    await sign_in(page, face, "technician")
    await page.get_by_text("各摄像机逐日留存").wait_for()
    async with opened_page(locale="en-GB") as english:
        await sign_in(english, face, "technician")
        await english.get_by_text("What is kept, day by day").wait_for()
        await open_day(english)
        assert "camera not reached" in await english.locator("#gaps").inner_text()
        await english.get_by_role("button", name="中文").click()
        assert "网络不通" in await english.locator("#gaps").inner_text()
        assert await english.locator("#language").inner_text() == "English"


@on_page
async def test_trouble_is_said_with_what_to_do_next(page: Any, face: Face) -> None:
    """A degraded gateway says so and is of use all the same; while the store is away playing waits, and goes on when it is back;
    a gateway that is not reached is said."""
    face.ready = (True, ["store objects: no route to it"])
    await sign_in(page, face, "technician")
    await page.get_by_text("网关降级运行：store objects").wait_for()
    await open_day(page)
    objects = face.directory / "objects"
    objects.rename(face.directory / "away")
    await page.locator("#strip").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_function(SAYS, arg="正在重试")
    (face.directory / "away").rename(objects)
    await page.wait_for_function(PLAYS, arg=0.2)
    await page.context.set_offline(True)
    await page.get_by_role("button", name="导出 ZIP").click()
    await page.get_by_text("连接不上网关").wait_for()


@on_page
async def test_another_reason_is_another_opening(page: Any, face: Face) -> None:
    """What is played after the reason was changed is registered with the new one."""
    await sign_in(page, face, "guard")
    await open_day(page)
    await page.locator("#strip").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_function(PLAYS, arg=0.1)
    await page.locator("#why").click()
    await page.locator("#reason-now").fill("失物招领")
    await page.locator("#reasons button.main").click()
    await page.get_by_text("事由：失物招领").wait_for()
    async with page.expect_response(lambda answer: answer.url.endswith("/playback")):
        await page.locator("#strip").focus()
        await page.keyboard.press("Enter")
    assert [line["reason"] for line in await lines(face, "played")] == [WHO["reason"], "失物招领"]


@on_page
async def test_what_the_browser_cannot_play_is_said_with_the_way_out(page: Any, face: Face) -> None:
    """H.265 in a browser without it: the recordings are sound, and the export is offered."""
    await page.add_init_script(WITHOUT_H265)  # some builds of Chromium play it
    start = face.clock.at - timedelta(hours=1)
    data = film(face.directory / "h265.mp4", codec="libx265")
    one = Segment(
        id="seg_h265",
        camera="cam",
        start=start,
        end=start + timedelta(seconds=SECONDS),
        frames=100,
        bytes=len(data),
        key=segment_key(face.parts.site.id, "cam", start),
        sha256=hashlib.sha256(data).hexdigest(),
        stored_at=start,
    )
    await face.objects.put_bytes(one.key, data)
    await face.store.write(lambda tx: tx.recordings.add(one))
    await sign_in(page, face, "technician")
    await open_day(page)
    await page.locator("#strip").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_function(SAYS, arg="H.265")
    assert await page.locator("#export").is_visible()
