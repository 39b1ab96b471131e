"""The access register over HTTP: every opening once, with unit, name and right, in a log that shows what was done to it."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.api.service import register
from gateway.domain.merkle import leaf_hash, root_of
from gateway.domain.register import Act, Head, RegisterLine, Who
from gateway.ports.recordings import Signer
from tests.support.http_face import CAMERA, Face, listed_playlist, on_face
from tests.support.merkle_proofs import is_consistent, is_included


async def lines(face: Face) -> list[dict[str, Any]]:
    """All lines, as the inspector reads them."""
    found: list[dict[str, Any]] = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    return found


@on_face
async def test_an_opening_by_the_centres_link_is_registered_once(face: Face) -> None:
    """A clip fetched in ranges and again at once is one viewing; ten minutes later it is another; a HEAD is none."""
    await face.add_alarm()
    item = await face.add_evidence(b"0123456789" * 100)
    link = face.media_link(item)
    await face.ask(link, method="HEAD")
    assert await lines(face) == []
    for span in ("bytes=0-99", "bytes=100-199"):
        assert (await face.ask(link, headers={"Range": span})).status == 206
    assert (await face.ask(link)).status == 200
    (line,) = await lines(face)
    assert {k: line[k] for k in ("n", "act", "name", "unit", "right", "content", "alarm")} == {
        "n": 1,
        "act": "viewed",
        "name": "name not given",
        "unit": "市公安局 110 指挥中心",
        "right": "link",
        "content": "evd_1",
        "alarm": "alm_1",
    }
    face.clock.advance(minutes=11)
    await face.ask(link)
    assert len(await lines(face)) == 2


@on_face
async def test_an_opening_by_a_role_bears_its_name(face: Face) -> None:
    """A guard's viewing is registered with their name and unit; what was refused or is not there is not."""
    await face.add_alarm()
    item = await face.add_evidence(b"picture")
    assert (await face.ask(f"/media/{item.key}", role=None)).status == 401
    assert (await face.ask("/media/nothing.jpg", role="guard")).status == 404
    await face.ask(f"/media/{item.key}", role="guard")
    (line,) = await lines(face)
    assert (line["name"], line["unit"], line["right"]) == ("门卫", "某单位", "guard")


@on_face
async def test_watching_is_registered_once_however_long_it_lasts(face: Face) -> None:
    """A playlist read every second is one opening, by page or by player; after a minute's pause it is a second one."""
    await face.add_alarm()
    face.cameras.playlists[CAMERA] = listed_playlist()
    page, hls = face.live_link(f"/live/{CAMERA}"), face.live_link(f"/live/{CAMERA}/index.m3u8")
    assert (await face.ask(page)).status == 200
    for _ in range(90):
        assert (await face.ask(hls)).status == 200
        face.clock.advance(seconds=1)
    (line,) = await lines(face)
    assert (line["act"], line["content"], line["alarm"]) == ("watched", CAMERA, "alm_1")
    face.clock.advance(seconds=61)
    await face.ask(hls)
    assert len(await lines(face)) == 2
    await face.ask(f"/live/{CAMERA}", role="guard")
    assert (await lines(face))[-1]["right"] == "guard"


@on_face
async def test_the_head_is_signed_and_what_was_told_earlier_is_proved(face: Face) -> None:
    """Whoever kept a head can prove by public means that the register of today begins with that one, and that a line is in it."""

    async def wrote(count: int) -> dict[str, Any]:
        for n in range(count):
            line = RegisterLine(
                at=face.clock.now(),
                act=Act.VIEWED,
                who=Who(name="x", unit="y", right="guard"),
                content=f"{n}",
            )
            await face.parts.registering.write(line)
        found: dict[str, Any] = (await face.ask("/api/v1/access-register", role="inspector")).json["head"]
        return found

    early, late = await wrote(5), await wrote(8)
    for head in (early, late):
        at = datetime.fromisoformat(head["at"]).astimezone(UTC)
        signed = Head(size=head["size"], root=bytes.fromhex(head["root"])).signed_bytes("jms-no3-middle", at)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(head["key"]))
        key.verify(base64.b64decode(head["signature"]), signed)
    url = f"/api/v1/access-register/proof?size={late['size']}"
    grown = (await face.ask(f"{url}&first={early['size']}", role="inspector")).json
    path = [bytes.fromhex(node) for node in grown["proof"]]
    assert is_consistent(5, 13, bytes.fromhex(early["root"]), bytes.fromhex(late["root"]), path)
    found = (await lines(face))[6]
    assert leaf_hash(found["body"].encode()).hex() == found["hash"]
    assert json.loads(found["body"])["n"] == 7
    audit = (await face.ask(f"{url}&line=7", role="inspector")).json
    path = [bytes.fromhex(node) for node in audit["proof"]]
    assert is_included(bytes.fromhex(found["hash"]), 6, 13, path, bytes.fromhex(late["root"]))
    for wrong in ("&line=14", "", "&line=1&first=1"):
        answer = await face.ask(f"{url}{wrong}", role="inspector")
        assert (answer.status, answer.problem) == (422, "invalid")


@on_face
async def test_an_altered_or_removed_line_shows(face: Face) -> None:
    """In the database itself: a changed word breaks the line's hash, a removed line breaks the head."""
    for n in range(6):
        who = Who(name=f"n{n}", unit="u", right="guard")
        await face.parts.registering.opened(Act.VIEWED, who, f"evd_{n}")
    head = await face.store.read(lambda tx: tx.register.head())
    leaves = await face.store.read(lambda tx: tx.register.leaves(6))
    assert root_of(leaves) == head.root
    with closing(sqlite3.connect(face.store.path)) as database:
        database.execute(
            "UPDATE register SET body = CAST(replace(CAST(body AS TEXT), 'n3', 'n9') AS BLOB) WHERE n = 4"
        )
        database.execute("DELETE FROM register WHERE n = 2")
        database.commit()
    found = await face.store.read(lambda tx: tx.register.lines(limit=100))
    assert [line.number for line in found if not line.sound] == [4]
    assert [line.number for line in found] == [1, 3, 4, 5, 6]
    assert root_of([line.leaf for line in found]) != head.root


@on_face
async def test_pages_of_the_register_follow_one_another(face: Face) -> None:
    """By number and within a time."""
    began = face.clock.now()
    for n in range(7):
        await face.parts.registering.opened(Act.VIEWED, Who(name="a", unit="b", right="guard"), f"evd_{n}")
        face.clock.advance(seconds=10)
    seen, after = [], 0
    while after is not None:
        page = (await face.ask(f"/api/v1/access-register?limit=3&after={after}", role="inspector")).json
        seen += [line["n"] for line in page["lines"]]
        after = page["next_after"]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    bounds = {"from": began + timedelta(seconds=15), "to": began + timedelta(seconds=35)}
    query = "&".join(f"{name}={at.strftime('%Y-%m-%dT%H:%M:%SZ')}" for name, at in bounds.items())
    some = (await face.ask(f"/api/v1/access-register?{query}", role="inspector")).json
    assert [line["content"] for line in some["lines"]] == ["evd_2", "evd_3"]


@on_face
async def test_only_another_site_file_is_a_change(face: Face) -> None:
    """Starting again with the same file writes nothing."""
    for sha256 in ("aa", "aa", "bb", "bb", "aa"):
        assert await face.parts.registering.configured(sha256) == ""
    found = await lines(face)
    assert [line["content"] for line in found] == ["aa", "bb", "aa"]
    assert [line["detail"]["before"] for line in found] == [None, "aa", "bb"]


@on_face
async def test_another_key_is_registered_and_told(face: Face) -> None:
    """A key that was lost is made anew at a start: what it signs is not what the centre can hold against the old one."""
    registering = face.parts.registering
    await registering.configured("aa")
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    registering._signer = Signer(sign=other.sign, public=public)
    fingerprint = hashlib.sha256(public).hexdigest()
    assert fingerprint in await registering.configured("aa")
    assert await registering.configured("aa") == ""
    first, second = await lines(face)
    assert (second["content"], second["detail"]["key"]) == ("aa", fingerprint)
    assert second["detail"]["key_before"] == first["detail"]["key"] != fingerprint


@on_face
async def test_a_name_the_page_asked_for_stands_beside_the_opening(face: Face) -> None:
    """By the page's own link, with the unit it was given to; an empty name, or a link that was altered, is none."""
    await face.add_alarm()
    face.cameras.playlists[CAMERA] = listed_playlist()
    link = face.live_link(f"/live/{CAMERA}")
    assert (await face.say(link, {"name": " "}, role=None)).status == 422
    assert (
        await face.say(link.replace("signature=", "signature=A"), {"name": "王警官"}, role=None)
    ).status == 403
    assert (await face.say(link, {"name": "王警官"}, role=None)).status == 204
    (line,) = await lines(face)
    assert (line["act"], line["name"], line["unit"], line["content"], line["alarm"]) == (
        "named",
        "王警官",
        "市公安局 110 指挥中心",
        CAMERA,
        "alm_1",
    )


@on_face
async def test_a_proof_is_made_beside_the_loop_that_takes_presses(
    face: Face,
) -> None:
    """Over the lines of years it takes a second or more."""
    for n in range(3):
        line = RegisterLine(
            at=face.clock.now(),
            act=Act.VIEWED,
            who=Who(name="王五", unit="门卫", right="guard"),
            content=f"evd_{n}",
        )
        await face.store.write(lambda tx, line=line: tx.register.append(line))  # type: ignore[misc]
    threads: list[threading.Thread] = []

    def watched(leaves: Sequence[bytes]) -> bytes:
        threads.append(threading.current_thread())
        return root_of(leaves)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(register, "root_of", watched)
        answer = await face.ask("/api/v1/access-register/proof?size=3&line=2", role="inspector")
    assert answer.status == 200
    assert threads
    assert threading.current_thread() not in threads
