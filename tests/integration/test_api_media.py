"""Stills and clips over HTTP: whole and in ranges, what counts as taken by the centre, and what is never handed out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from gateway.api.alarm.media import PIECE_BYTES
from gateway.domain.errors import Refused, Unavailable
from gateway.domain.evidence import EvidenceState, Kind
from tests.support.http_face import EVERYONE, TOKEN_OF, Face, on_face

CLIP = random.Random(7).randbytes(3 * PIECE_BYTES + 12_345)
DIGEST = hashlib.sha256(CLIP).hexdigest()


async def prepared(face: Face, data: bytes = CLIP) -> str:
    """An alarm with one clip; a link to it as the centre has it."""
    await face.add_alarm()
    return face.media_link(await face.add_evidence(data, kind=Kind.CLIP))


@on_face
async def test_an_item_comes_whole_with_all_that_proves_it(face: Face) -> None:
    """Bytes, type, length, ETag and digest are those of the record; nothing of it may be kept on the way."""
    answer = await face.ask(await prepared(face))
    assert (answer.status, answer.body) == (200, CLIP)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(CLIP))
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(DIGEST)).decode()}:"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["accept-ranges"] == "bytes"
    assert 'filename="evd_1.mp4"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, len(CLIP)),
        ("bytes=-100", len(CLIP) - 100, len(CLIP)),
        (f"bytes={PIECE_BYTES - 1}-{PIECE_BYTES}", PIECE_BYTES - 1, PIECE_BYTES + 1),
        ("bytes=0-99999999", 0, len(CLIP)),
    ],
)
@on_face
async def test_a_range_is_exactly_what_was_asked_for(face: Face, asked: str, start: int, end: int) -> None:
    """206 with the bytes asked for and where they lie."""
    answer = await face.ask(await prepared(face), headers={"Range": asked})
    assert (answer.status, answer.body) == (206, CLIP[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CLIP)}"
    assert answer.headers["content-length"] == str(end - start)


@on_face
async def test_ranges_that_cannot_be_or_need_not_be_served(face: Face) -> None:
    """Beyond the end is 416 with the length; several ranges, nonsense, and a condition that fails give the whole."""
    link = await prepared(face)
    answer = await face.ask(link, headers={"Range": f"bytes={len(CLIP)}-"})
    assert (answer.status, answer.problem) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(CLIP)}"
    for headers in (
        {"Range": "bytes=0-1,4-5"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1", "If-Range": '"another"'},
    ):
        assert (await face.ask(link, headers=headers)).status == 200
    answer = await face.ask(link, headers={"Range": "bytes=0-1", "If-Range": f'"{DIGEST}"'})
    assert answer.status == 206


@on_face
async def test_head_tells_without_giving_and_counts_for_nothing(face: Face) -> None:
    """HEAD has the headers of GET, no body, and is no taking."""
    link = await prepared(face)
    answer = await face.ask(link, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(CLIP))
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert not await face.until_taken(within_s=0.3)


@on_face
async def test_what_the_centre_fetched_whole_is_uploaded(face: Face) -> None:
    """By the link of a message or by the centre's own token, the whole item counts, once, with a step in the timeline."""
    link = await prepared(face)
    await face.ask(link)
    assert await face.until_taken()
    await face.ask(link)
    story = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json
    assert [step["what"] for step in story["timeline"]] == ["taken"]
    other = await face.add_evidence(b"other", "evd_2")
    assert (await face.ask(f"/media/{other.key}", role="centre")).status == 200
    assert await face.until_taken("evd_2")


@on_face
async def test_ranges_that_cover_the_whole_are_a_taking(face: Face) -> None:
    """A player that takes a clip in pieces has taken it with the last missing piece, and not before."""
    link = await prepared(face)
    cut, end = 200_000, len(CLIP)
    for asked in (f"bytes={cut}-{end - 2}", f"bytes=0-{cut - 1}", "bytes=0-0"):
        assert (await face.ask(link, headers={"Range": asked})).status == 206
    assert not await face.until_taken(within_s=0.3)
    await face.ask(link, headers={"Range": "bytes=-1"})
    assert await face.until_taken()


@on_face
async def test_what_the_school_looks_at_is_not_taken_by_the_centre(face: Face) -> None:
    """Neither another role's token nor the links it was given make an item uploaded."""
    await prepared(face)
    path = f"/media/{(await face.evidence()).key}"
    for role in EVERYONE:
        if role != "centre":
            assert (await face.ask(path, role=role)).body == CLIP
            url = (await face.ask("/api/v1/alarms/alm_1", role=role)).json["evidence"][0]["url"]
            assert (await face.ask(url)).body == CLIP
    assert not await face.until_taken(within_s=0.3)
    url = (await face.ask("/api/v1/alarms/alm_1", role="centre")).json["evidence"][0]["url"]
    assert (await face.ask(url)).body == CLIP
    assert await face.until_taken()


@on_face
async def test_a_transfer_cut_short_is_no_taking(face: Face) -> None:
    """A reader that goes away in the middle has not taken the item; one that reads on to the end has."""
    data = random.Random(8).randbytes(32 * 1024 * 1024)  # more than all socket buffers on the way hold
    link = urlsplit(await prepared(face, data))
    request = f"GET {link.path}?{link.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for most in (100_000, len(data) // 2):
        reader, writer = await asyncio.open_connection(link.hostname, link.port)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        writer.write(request)
        got = 0
        while got < most:
            got += len(await reader.read(65_536))
        writer.close()
        await writer.wait_closed()
    assert not await face.until_taken(within_s=1)
    assert len((await face.ask(link.geturl())).body) == len(data)
    assert await face.until_taken()


@on_face
async def test_there_is_nothing_beside_stored_evidence(face: Face) -> None:
    """Keys of nothing, of other objects, of items not stored, and paths that lead out of the store: 404 by role."""
    await prepared(face)
    await face.objects.put_bytes("jms-no3-middle/plan.json", b"{}")
    item = await face.evidence()
    await face.store.write(
        lambda tx: tx.evidence.add([replace(item, id="evd_w", key="a/b.jpg", state=EvidenceState.WANTED)])
    )
    for path in (
        "/media/none.jpg",
        "/media/",
        "/media/jms-no3-middle/plan.json",
        "/media/a/b.jpg",
        "/media/..%2f..%2fgateway.db",
        "/media//etc/passwd",
        "/media/" + "x" * 5000,
        "/media/%00",
    ):
        answer = await face.ask(path, role="centre")
        assert (path, answer.status, answer.problem) == (path, 404, "not-found")


@on_face
async def test_altered_evidence_is_never_handed_out_as_whole(face: Face) -> None:
    """A changed byte breaks the transfer before its end, a changed length refuses it; neither is a taking."""
    link = await prepared(face)
    path = face.directory / "objects" / ((await face.evidence()).key or "")
    path.chmod(0o600)
    path.write_bytes(CLIP[:-1] + bytes([CLIP[-1] ^ 1]))
    link_parts = urlsplit(link)
    reader, writer = await asyncio.open_connection(link_parts.hostname, link_parts.port)
    writer.write(f"GET {link_parts.path}?{link_parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert len(await reader.read(-1)) < len(CLIP), "the connection ends before the last piece"
    writer.close()
    await writer.wait_closed()
    path.write_bytes(CLIP[:-1])
    answer = await face.ask(link)
    assert (answer.status, answer.problem) == (503, "unavailable")
    path.unlink()
    answer = await face.ask(link)
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert str(face.directory).encode() not in answer.body
    assert not await face.until_taken(within_s=0.3)


@on_face
async def test_a_store_that_is_away_is_said_without_its_secrets(face: Face) -> None:
    """503 with Retry-After; where the store lies is nobody's business."""
    link = await prepared(face)

    async def away(key: str, version: str | None = None) -> int | None:
        raise Unavailable("secret endpoint refused", retry_after_s=9)

    face.objects.size = away  # type: ignore[method-assign]
    answer = await face.ask(link)
    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (503, "unavailable", "9")
    assert b"secret" not in answer.body


@on_face
async def test_a_store_that_lets_nobody_in_is_said_without_its_secrets(face: Face) -> None:
    """Refused when the item is looked for, or only when it is read: the caller is to try again, and learns no more."""
    link = await prepared(face)

    async def refused(key: str, version: str | None = None) -> int | None:
        raise Refused("secret endpoint: AccessDenied")

    @asynccontextmanager
    async def refusing(
        key: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> AsyncIterator[object]:
        raise Refused("secret endpoint: AccessDenied")
        yield

    for name, call in (("read", refusing), ("size", refused)):
        setattr(face.objects, name, call)
        answer = await face.ask(link)
        assert (answer.status, answer.problem) == (503, "unavailable")
        assert b"secret" not in answer.body


@on_face
async def test_the_centres_own_page_may_show_what_it_was_given(face: Face) -> None:
    """Media and live answers, errors included, may be read by a page of another origin: the link is the whole permission."""
    link = await prepared(face)
    for url in (link, link + "x"):
        answer = await face.ask(url, headers={"Origin": "https://centre.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
    answer = await face.ask("/api/v1/site", headers={"Authorization": f"Bearer {TOKEN_OF['guard']}"})
    assert "access-control-allow-origin" not in answer.headers
