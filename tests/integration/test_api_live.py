"""Live HLS over HTTP: playlists with signed entries, their lives, and the page around them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urljoin, urlsplit

from gateway.domain.errors import NotPlayable
from tests.support.http_face import CAMERA, EVERYONE, OTHER, START, Face, listed_playlist, on_face

INDEX = f"/live/{CAMERA}/index.m3u8"


async def prepared(face: Face) -> str:
    """An alarm and a live picture; a link to its playlist."""
    await face.add_alarm()
    face.cameras.playlists[CAMERA] = listed_playlist()
    face.cameras.parts = {name: name.encode() for name in ("init-0.mp4", "0-7.m4s", "0-8.m4s", "0-9.m4s")}
    return face.live_link(INDEX)


def entries(text: str) -> list[str]:
    """The addresses in a playlist, the initialisation first."""
    found = re.findall(r'^#EXT-X-MAP:URI="([^"]+)"$', text, re.MULTILINE)
    return found + [line for line in text.splitlines() if line and not line.startswith("#")]


@on_face
async def test_every_entry_opens_by_its_own_signature(face: Face) -> None:
    """Entries are relative, and each one fetched as a player does gives its part without a token; swapped ones do not."""
    link = await prepared(face)
    answer = await face.ask(link)
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    found = entries(answer.body.decode())
    assert [urlsplit(entry).path for entry in found] == ["init-0.mp4", "0-7.m4s", "0-8.m4s", "0-9.m4s"]
    for entry in found:
        part = await face.ask(urljoin(link, entry))
        assert (part.status, part.body) == (200, urlsplit(entry).path.encode())
        assert part.headers["content-type"] == "video/mp4"
        assert part.headers["cache-control"] == "private, no-store"
    swapped = found[1].replace("0-7.m4s", "0-8.m4s")
    assert (await face.ask(urljoin(link, swapped))).problem == "altered-link"
    assert "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T10:15:14.123+08:00" in answer.body.decode()


@on_face
async def test_entries_outlive_neither_an_hour_nor_their_link(face: Face) -> None:
    """At least half an hour and at most one, less if the link itself ends sooner; the same entry keeps its address meanwhile."""
    await prepared(face)
    link = face.live_link(INDEX, days=1)
    for minutes in range(0, 130, 7):
        face.clock.at = START + timedelta(minutes=minutes)
        for entry in entries((await face.ask(link)).body.decode()):
            lives_s = int(parse_qs(urlsplit(entry).query)["expires"][0]) - face.clock.at.timestamp()
            assert 1800 <= lives_s <= 3600
    face.clock.at = START
    first = (await face.ask(link)).body
    face.clock.advance(minutes=5)
    assert (await face.ask(link)).body == first
    face.clock.at = START
    short = face.live_link(INDEX, minutes=10)
    expires = {
        parse_qs(urlsplit(e).query)["expires"][0] for e in entries((await face.ask(short)).body.decode())
    }
    assert expires == set(parse_qs(urlsplit(short).query)["expires"])


@on_face
async def test_a_role_sees_live_and_its_playlist_is_signed_anyway(face: Face) -> None:
    """Browsers send no Authorization for a segment: the entries a role is given work without, for an hour at most."""
    await prepared(face)
    for role in EVERYONE:
        answer = await face.ask(INDEX, role=role)
        for entry in entries(answer.body.decode()):
            assert (await face.ask(urljoin(face.base + INDEX, entry))).status == 200
    face.clock.advance(hours=1)
    assert (await face.ask(urljoin(face.base + INDEX, entry))).problem == "link-expired"


@on_face
async def test_a_reopened_stream_is_a_discontinuity(face: Face) -> None:
    """After the camera came back the playlist counts the discontinuity on and names another initialisation."""
    link = await prepared(face)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:0\n" in (await face.ask(link)).body.decode()
    face.cameras.playlists[CAMERA] = listed_playlist(first=20, epoch=2)
    text = (await face.ask(link)).body.decode()
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in text
    assert "#EXT-X-MEDIA-SEQUENCE:20\n" in text
    assert 'URI="init-2.mp4?' in text


@on_face
async def test_a_camera_without_picture_says_why(face: Face) -> None:
    """503 with the camera's own reason and when to try again; a part that left the ring is 404; unknown cameras too."""
    link = await prepared(face)
    del face.cameras.playlists[CAMERA]
    answer = await face.ask(link)
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert "it answers 401: wrong password" in answer.json["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert (await face.ask(f"/live/{CAMERA}/0-1.m4s", role="guard")).problem == "not-found"
    for path in (
        "/live/cam-none",
        "/live/cam-none/index.m3u8",
        "/live/cam-none/init-0.mp4",
        f"/live/{CAMERA}/whep",
    ):
        assert (await face.ask(path, role="guard")).problem == "not-found"


@on_face
async def test_a_picture_that_is_not_the_main_streams_says_so(face: Face) -> None:
    """What is to be said of the picture stands in the playlist as a comment, beside its codec; else there is none."""
    link = await prepared(face)
    assert "# note:" not in (await face.ask(link)).body.decode()
    note = "live shows the camera's sub-stream (H.264 640x360): its main stream is H.265 1920x1080"
    face.cameras.playlists[CAMERA] = replace(listed_playlist(), note=note)
    answer = await face.ask(link)
    assert f"# note: {note}\n" in answer.body.decode()
    assert urlsplit(entries(answer.body.decode())[0]).path == "init-0.mp4"


@on_face
async def test_a_camera_no_browser_plays_is_told_from_one_without_picture(face: Face) -> None:
    """503 in both cases; ``playable`` is false where trying again is of no use, and the reason says what to do."""
    link = await prepared(face)
    face.cameras.playlists[CAMERA] = NotPlayable("the camera sends H.265 1920x1080; set a profile to H.264")
    answer = await face.ask(link)
    assert (answer.status, answer.problem, answer.json["playable"]) == (503, "unavailable", False)
    assert "set a profile to H.264" in answer.json["detail"]
    del face.cameras.playlists[CAMERA]
    assert "playable" not in (await face.ask(link)).json


@on_face
async def test_the_page_loads_nothing_from_elsewhere(face: Face) -> None:
    """Its files are relative, its policy allows this gateway alone, its playlist link works and ends with the page's own."""
    await prepared(face)
    link = face.live_link(f"/live/{CAMERA}", minutes=20)
    answer = await face.ask(link)
    text = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(r"https?:", text)
    assert not re.search(r"<script(?! src=)|\son\w+=|style=", text), (
        "nothing inline, which the policy would stop"
    )
    assert "三层走廊" in text
    assert "第三中学" in text
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        if not address.startswith("data:"):
            assert (await face.ask(urljoin(link, address))).status == 200
    found = re.search(r'data-playlist="([^"]+)"', text)
    assert found is not None
    playlist = urljoin(link, found[1].replace("&amp;", "&"))
    assert (await face.ask(playlist)).status == 200
    for lives_s in (600, 86_400):
        page = face.live_link(f"/live/{CAMERA}", seconds=lives_s)
        found = re.search(r"expires=(\d+)", (await face.ask(page)).body.decode())
        assert found is not None
        assert [found[1]] == parse_qs(urlsplit(page).query)["expires"]


@on_face
async def test_a_person_is_told_in_words_and_a_program_in_json(face: Face) -> None:
    """A browser that opens a page link that does not work gets a page, with the same status; anything else a problem document."""
    link = await prepared(face)
    page = face.live_link(f"/live/{CAMERA}", minutes=20)
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for url, status, words in (
        (f"/live/{CAMERA}", 401, "需要授权链接"),
        (page + "x", 403, "链接不完整或被改动"),
        (face.live_link(f"/live/{CAMERA}", alarm="alm_none"), 410, "警情已结束"),
        (face.live_link(f"/live/{CAMERA}", minutes=-1), 410, "链接已过期"),
        (face.live_link(f"/live/{OTHER}x"), 404, "没有这台摄像机"),
    ):
        answer = await face.ask(url, headers=browser)
        assert (url, answer.status) == (url, status)
        assert words in answer.body.decode()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert (await face.ask(url)).headers["content-type"] == "application/problem+json"
    assert (await face.ask(link + "x", headers=browser)).problem == "altered-link"
