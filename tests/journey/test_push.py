"""A school that nobody can reach: everything it has to show is PUT at the centre, in order, whole, and told truthfully; what the
operator says and asks for comes in the centre's answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.browser import chromium, opened_page
from tests.support.processes import (
    Broker,
    Campus,
    Gateway,
    any_broker,
    cameras,
    free_port,
    pushing,
    site_yaml,
    topic,
    wait_for,
)

SIZE = ["--width", "320", "--height", "180"]
CAMERAS = 2
ITEMS = CAMERAS * 5  # three stills and two clips each
PLAYING = """() => {
    const video = document.querySelector(".pushed video");
    return video && video.videoWidth > 0 && video.currentTime > 0;
}"""
LATER_THAN = "at => document.querySelector('.pushed video').currentTime > at"


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Campus, Gateway, SimulatedButton]]:
    """Two cameras, a centre that calls nobody, and a gateway that pushes and gives out addresses that refuse every connection."""
    folder = tmp_path_factory.mktemp("push")
    with (
        any_broker(folder) as broker,
        Campus(folder, "--answers-only", "--media-dir", str(folder / "media")) as campus,
        cameras(folder, "live", CAMERAS, *SIZE) as live,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(
            broker=broker,
            centre=campus.centre_url,
            cameras=live,
            points=5,
            webhook=", answer_secret: {env: CENTRE_ANSWER_SECRET}",
            public_url=f"http://127.0.0.1:{free_port()}",
        )
        with Gateway(folder, pushing(site, campus.media_url)) as gateway:
            wait_for(lambda: gateway.rings_hold(7), within_s=60, what="every ring is full enough")
            yield campus, gateway, button


def _of_point(campus: Campus, point: int) -> dict[str, Any] | None:
    for alarm in campus.alarms():
        if alarm["raised"] and alarm["raised"]["data"]["point"]["id"] == f"p-{point}":
            return alarm
    return None


def _through(campus: Campus, point: int, *, items: int = ITEMS, within_s: float = 60.0) -> dict[str, Any]:
    """The alarm of a point once so many items are at the centre, judged, and a manifest says so of all it names."""

    def done() -> dict[str, Any] | None:
        alarm = _of_point(campus, point)
        if alarm is None or not alarm["manifests"]:
            return None
        judged = [e for e in alarm["evidence"] if e["fetched_s"] or e["problem"]]
        window = [i for i in alarm["manifests"][-1]["data"]["items"] if i["moment"] != "during"]
        complete = len(judged) >= items and all(i["uploaded_at"] for i in window)
        return alarm if complete else None

    return wait_for(done, within_s=within_s, what=f"{items} items of p-{point} and their manifest")


def _check(campus: Campus, alarm: dict[str, Any]) -> None:
    """Each item is right, at the place its message names, and was there before it was told; no claim is false."""
    for item in alarm["evidence"]:
        told = item["announced"]
        assert (item["problem"], item["sha256_right"], item["bytes_right"]) == (None, True, True), item
        suffix = "jpg" if told["kind"] == "still" else "mp4"
        assert told["url"] == f"{campus.media_url}/{alarm['id']}/{told['id']}.{suffix}"
        assert told["expires_at"] is None
        assert item["pushed_s"] <= item["arrived_s"], "told before the centre had it"
    whole_s = {put["name"].partition(".")[0]: put["whole_s"] for put in alarm["puts"]}
    for manifest in alarm["manifests"]:
        for told in manifest["data"]["items"]:
            if told["uploaded_at"] is not None:
                at_s = datetime.fromisoformat(told["uploaded_at"]).timestamp()
                assert -0.001 <= at_s - whole_s[told["evidence"]] < 5, told
    assert campus.state()["problems"] == []


@pytest.mark.slow
def test_everything_is_put_told_after_it_and_accounted_for(
    school: tuple[Campus, Gateway, SimulatedButton],
) -> None:
    """Press stills within two seconds, each item whole and right before it is told, and one manifest with everything in it."""
    campus, gateway, button = school
    pressed_s = button.press(topic(0)).published_s
    alarm = _through(campus, 0)
    _check(campus, alarm)
    press = [
        e
        for e in alarm["evidence"]
        if (e["announced"]["moment"], e["announced"]["kind"]) == ("press", "still")
    ]
    assert len(press) == CAMERAS
    assert max(e["pushed_s"] for e in press) - pressed_s < 2.0
    first = alarm["manifests"][0]["data"]
    assert first["revision"] == 1
    assert all(i["uploaded_at"] for i in first["items"] if i["moment"] != "during")
    seen = gateway.get(f"/api/v1/alarms/{alarm['id']}")
    tried = [a for e in seen["evidence"] if e["moment"] != "during" for a in e["attempts"]]
    assert {(a["path"], a["status"], a["outcome"]) for a in tried} == {("media", 201, "received")}
    assert "uploaded" in {step["what"] for step in seen["timeline"]}


@pytest.mark.slow
def test_the_live_picture_plays_at_the_centre_and_stops_when_the_alarm_is_closed(
    school: tuple[Campus, Gateway, SimulatedButton], tmp_path: Path
) -> None:
    """Chromium plays what was PUT, of the present; after closing the playlist has its end within 2 s and nothing more comes."""
    chromium()
    campus, _, button = school
    button.press(topic(1))
    alarm = wait_for(lambda: _of_point(campus, 1), within_s=10, what="the alert")
    place = f"{campus.media_url}/{alarm['id']}/live"
    live = {c["id"]: c["live"]["pushed"] for c in alarm["raised"]["data"]["cameras"]}
    assert live == {f"live-{n}": f"{place}/live-{n}/index.m3u8" for n in (1, 2)}

    async def watch() -> None:
        async with opened_page(within_ms=30_000) as page:
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(campus.page)
            card = page.locator(f"#alarm-{alarm['id']}")
            playing = PLAYING.replace("document", f"document.getElementById('alarm-{alarm['id']}')")
            later = LATER_THAN.replace("document", f"document.getElementById('alarm-{alarm['id']}')")
            await page.wait_for_function(playing)
            at = await card.locator(".pushed video").first.evaluate("video => video.currentTime")
            await page.wait_for_function(later, arg=at + 3)
            assert await card.locator(".pushed video").first.evaluate(
                "v => [v.videoWidth, v.videoHeight]"
            ) == [
                320,
                180,
            ]
            await page.screenshot(path=tmp_path / "pushed.png", full_page=True)
            campus.reply(alarm["id"], "accepted")
            campus.reply(alarm["id"], "closed")
            await page.wait_for_function(
                "id => document.getElementById('alarm-' + id).innerText.includes('画面已结束')",
                arg=alarm["id"],
            )
            assert errors == []

    asyncio.run(watch())
    closed = _of_point(campus, 1)
    assert closed is not None
    closed_s = next(r["answered_s"] for r in closed["replies"] if r["word"] == "closed")
    assert len(closed["pushed_live"]) == CAMERAS
    for shown in closed["pushed_live"]:
        assert shown["problem"] is None
        assert shown["ended_s"] - closed_s < 2.0
    count = [shown["segments"] for shown in closed["pushed_live"]]
    button.press(topic(2))  # something that comes later, and after which nothing of the closed one has come
    wait_for(
        lambda: (a := _of_point(campus, 2)) and a["pushed_live"], within_s=10, what="another live picture"
    )
    after = _of_point(campus, 1)
    assert after is not None
    assert [shown["segments"] for shown in after["pushed_live"]] == count


@pytest.mark.slow
def test_a_requested_clip_is_at_the_centre_before_its_result(
    school: tuple[Campus, Gateway, SimulatedButton],
) -> None:
    """The centre asks for a span; what it is told to be the result lies whole at its own place by then."""
    campus, _, button = school
    button.press(topic(3))
    alarm = wait_for(lambda: _of_point(campus, 3), within_s=10, what="the alert")
    at_s = datetime.fromisoformat(alarm["raised"]["data"]["alarm"]["pressed_at"]).timestamp()
    span = [datetime.fromtimestamp(at_s + d).astimezone().isoformat() for d in (-4, -1)]
    campus.request(alarm["id"], **{"request": "clip", "camera": "live-1", "from": span[0], "to": span[1]})
    alarm = wait_for(
        lambda: (a := _of_point(campus, 3)) and a["results"] and a, within_s=20, what="request.result"
    )
    (result,) = alarm["results"]
    put = {p["name"].partition(".")[0]: p for p in alarm["puts"]}[result["data"]["evidence"]]
    assert result["data"]["ok"] is True
    assert put["whole_s"] <= result["taken_s"]
    _check(campus, _through(campus, 3, items=ITEMS + 1))


@pytest.mark.slow
def test_clips_cut_at_ninety_per_cent_go_on_and_arrive_right(
    school: tuple[Campus, Gateway, SimulatedButton],
) -> None:
    """Four attempts at clips break off; each goes on where it broke off, and what arrives has the digest that was told."""
    campus, gateway, button = school
    campus.misbehave_to_puts(answer="cut", percent=90, count=2 * CAMERAS, kinds=["clip"])
    try:
        button.press(topic(4))
        alarm = _through(campus, 4)
    finally:
        campus.misbehave_to_puts(answer="normal", count=None, kinds=[])
    _check(campus, alarm)
    clips = [put for put in alarm["puts"] if put["name"].endswith(".mp4")]
    assert sum(put["resumed"] for put in clips) == 2 * CAMERAS, clips
    detail = gateway.get(f"/api/v1/alarms/{alarm['id']}")
    broke = [a for e in detail["evidence"] for a in e["attempts"] if "broke off" in a["detail"]]
    assert len(broke) == 2 * CAMERAS


@pytest.mark.slow
def test_after_an_outage_of_20_s_and_a_kill_everything_arrives_once_and_stills_first(tmp_path: Path) -> None:
    """Nobody listens at the centre for 20 s, the gateway is killed meanwhile; after that every item of both alarms is there,
    PUT once, stills before clips, and no manifest claimed any of it before."""
    folder = tmp_path
    with (
        Broker(folder) as broker,
        Campus(folder, "--no-fetch", "--media-dir", str(folder / "media")) as campus,
        cameras(folder, "live", CAMERAS, *SIZE) as live,
        SimulatedButton(broker.url) as button,
    ):
        site = pushing(
            site_yaml(broker=broker.url, centre=campus.centre_url, cameras=live, points=2), campus.media_url
        )
        with Gateway(folder, site) as gateway:
            wait_for(lambda: gateway.rings_hold(7), within_s=60, what="every ring is full enough")
            campus.misbehave(refuse=True)
            away_s = time.monotonic()
            for point in (0, 1):
                button.press(topic(point))
            wait_for(
                lambda: sum(_stored(gateway, a["id"]) for a in gateway.alarms()) >= 2 * ITEMS,
                within_s=30,
                what="everything is stored",
            )
            gateway.kill()
            gateway.start()
            wait_for(
                lambda: ("path", "media") in gateway.faults(), within_s=30, what="a fault that names the path"
            )
            while time.monotonic() < away_s + 20:
                assert all(not i["uploaded_at"] for i in _items(gateway))
                time.sleep(0.5)
            back_s = time.time()
            campus.misbehave(refuse=False)
            alarms = [_through(campus, point) for point in (0, 1)]
            for alarm in alarms:
                _check(campus, alarm)
                for manifest in alarm["manifests"]:
                    waits = [i for i in manifest["data"]["items"] if i["uploaded_at"] is None]
                    assert all("not yet" in i["reason"] for i in waits if i["moment"] != "during")
            puts = [put for alarm in alarms for put in alarm["puts"]]
            names = {e["announced"]["id"]: e["announced"] for a in alarms for e in a["evidence"]}
            window = [p for p in puts if names[p["name"].partition(".")[0]]["moment"] != "during"]
            stills = [p["whole_s"] for p in window if p["name"].endswith(".jpg")]
            clips = [p["whole_s"] for p in window if p["name"].endswith(".mp4")]
            assert (len(stills), len(clips)) == (2 * 3 * CAMERAS, 2 * 2 * CAMERAS)
            assert min(stills) > back_s
            assert {p["puts"] for p in window} == {1}
            print(f"stills {max(stills) - back_s:.1f} s, clips {max(clips) - back_s:.1f} s after the return")
            # Two slots of clips begin beside four of stills, so what is told apart is when the last of each was through.
            assert sorted(clips)[2] > sorted(stills)[3]
            assert max(stills) < sorted(clips)[len(clips) // 2]
            wait_for(lambda: ("path", "media") not in gateway.faults(), within_s=40, what="the fault is gone")


def _stored(gateway: Gateway, alarm: str) -> int:
    items = gateway.get(f"/api/v1/alarms/{alarm}")["evidence"]
    return sum(1 for item in items if item["state"] == "stored" and item["moment"] != "during")


def _items(gateway: Gateway) -> list[dict[str, Any]]:
    return [i for a in gateway.alarms() for i in gateway.get(f"/api/v1/alarms/{a['id']}")["evidence"]]
