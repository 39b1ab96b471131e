"""Signed links: good, expired, or altered."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.links import LinkSigner, LinkVerdict, live_path, media_path
from tests.support.builders import KEY, PUBLIC_URL
from tests.support.clock import MORNING

SIGNER = LinkSigner(KEY, PUBLIC_URL)
UNTIL = MORNING + timedelta(days=7)
PATH = media_path("jms/alarms/2026/03/02/alm_1/cam-a/evd_1.jpg")


def presented(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    return unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}


@pytest.mark.parametrize(
    "path", [PATH, live_path("cam-a"), live_path("cam-a", "index.m3u8"), "/media/镜头 1?.jpg"]
)
def test_a_link_is_good_until_it_expires_and_then_expired(path: str) -> None:
    """To the second."""
    taken, query = presented(SIGNER.url(path, expires_at=UNTIL, alarm="alm_1"))
    assert taken == path
    end = UNTIL.replace(microsecond=0)
    assert SIGNER.judge(taken, query, MORNING) is LinkVerdict.GOOD
    assert SIGNER.judge(taken, query, end - timedelta(seconds=1)) is LinkVerdict.GOOD
    assert SIGNER.judge(taken, query, end) is LinkVerdict.EXPIRED
    assert SIGNER.judge(taken, query, end + timedelta(days=900)) is LinkVerdict.EXPIRED


@given(part=st.sampled_from(["path", "expires", "alarm", "signature"]), data=st.data())
def test_any_altered_byte_is_altered(part: str, data: st.DataObject) -> None:
    """One character changed, left out or added anywhere: never good, and never merely expired."""
    path, query = presented(SIGNER.url(PATH, expires_at=UNTIL, alarm="alm_1"))
    value = path if part == "path" else query[part]
    at = data.draw(st.integers(0, len(value) - 1))
    new = data.draw(st.text(st.characters(codec="utf-8"), max_size=2))
    changed = value[:at] + new + value[at + 1 :]
    if changed == value:
        return
    if part == "path":
        path = changed
    else:
        query[part] = changed
    for now in (MORNING, UNTIL + timedelta(days=1)):
        assert SIGNER.judge(path, query, now) is LinkVerdict.ALTERED


@pytest.mark.parametrize("missing", ["expires", "alarm", "signature"])
def test_a_missing_part_is_altered(missing: str) -> None:
    """No part may be left out."""
    path, query = presented(SIGNER.url(PATH, expires_at=UNTIL, alarm="alm_1"))
    del query[missing]
    assert SIGNER.judge(path, query, MORNING) is LinkVerdict.ALTERED
    assert SIGNER.judge(path, {}, MORNING) is LinkVerdict.ALTERED


def test_another_box_signs_differently() -> None:
    """A link of another key is altered."""
    path, query = presented(LinkSigner(bytes(32), PUBLIC_URL).url(PATH, expires_at=UNTIL))
    assert SIGNER.judge(path, query, MORNING) is LinkVerdict.ALTERED


def test_parts_cannot_be_moved_into_one_another() -> None:
    """What is signed as path and expiry is not also a longer path with an earlier expiry."""
    path, query = presented(SIGNER.url(PATH, expires_at=UNTIL, alarm="alm_1"))
    moved = {"expires": query["alarm"], "alarm": "", "signature": query["signature"]}
    assert SIGNER.judge(f"{path}\n{query['expires']}", moved, MORNING) is LinkVerdict.ALTERED
