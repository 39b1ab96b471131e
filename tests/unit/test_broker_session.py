"""The client id at the broker: a secret part that stays, whatever happens to its file; and what is remembered of the session."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.app.broker_session import FILE, BrokerSession
from tests.support.clock import ManualClock

PLAIN = "campus-gateway-school"


def session(
    folder: Path,
    *,
    given: str | None = None,
    upgraded: bool = False,
    where: str = "127.0.0.1:1883",
    clock: ManualClock | None = None,
) -> BrokerSession:
    """As a start makes it."""
    return BrokerSession(
        folder / FILE, clock or ManualClock(), where=where, given=given, plain=PLAIN, upgraded=upgraded
    )


def confirmed(of: BrokerSession) -> BrokerSession:
    """With its session at the broker, and that written down."""
    of.confirmed()
    assert of._write(of._record)
    return of


def test_the_secret_part_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    """Mode 0600, the same at the next start, another in another folder."""
    first = session(tmp_path)
    assert first.client_id.startswith(f"{PLAIN}-")
    assert len(first.client_id) == len(PLAIN) + 1 + 20
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert session(tmp_path).client_id == first.client_id
    (tmp_path / "other").mkdir()
    assert session(tmp_path / "other").client_id != first.client_id
    assert not list(first.found())


def test_what_changed_last_is_written_when_the_gateway_ends(tmp_path: Path) -> None:
    """That the broker forgot the session is a fault for a day, also where the gateway ended in the same moment."""
    confirmed(session(tmp_path))

    async def ended(of: BrokerSession) -> None:
        task = asyncio.create_task(of.run())
        await asyncio.sleep(0)
        of.connected(present=False)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(ended(session(tmp_path)))
    assert session(tmp_path).forgotten_at() is not None


def test_the_site_files_own_id_is_used_as_it_is(tmp_path: Path) -> None:
    """No secret part is put behind it."""
    assert session(tmp_path, given="ours").client_id == "ours"


#: What changed between two starts, and the former ids that are still to be taken.
CHANGES: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "nothing": ({}, ()),
    "the site file names an id": ({"given": "ours"}, ("secret",)),
    "another broker": ({"where": "127.0.0.1:1884"}, ()),
    "another broker and an id": ({"given": "ours", "where": "127.0.0.1:1884"}, ()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_waits_under_an_id_of_before_is_to_be_taken(tmp_path: Path, name: str) -> None:
    """Until it is taken, over any number of starts."""
    how, former = CHANGES[name]
    before = confirmed(session(tmp_path))
    expected = tuple(before.client_id if id_ == "secret" else id_ for id_ in former)
    after = session(tmp_path, **how)  # type: ignore[arg-type]
    assert after.former == expected
    confirmed(after)
    again = session(tmp_path, **how)  # type: ignore[arg-type]
    assert again.former == expected
    for id_ in expected:
        again.taken(id_)
    assert again.former == ()


def test_an_upgrade_takes_what_waits_under_the_id_without_a_secret(tmp_path: Path) -> None:
    """Only if a gateway without a secret part ran on this folder, and used that id."""
    for name, upgraded, given, former in (
        ("new", False, None, ()),
        ("upgraded", True, None, (PLAIN,)),
        ("given", True, "ours", ()),
    ):
        (tmp_path / name).mkdir()
        assert session(tmp_path / name, upgraded=upgraded, given=given).former == former


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 64,
        b"[]",
        b"null",
        b"{}",
        b'{"secret": 7}',
        json.dumps(
            {"secret": "short", "broker": "", "client_id": "", "former": [], "forgotten_at": ""}
        ).encode(),
        json.dumps(
            {"secret": "z" * 20, "broker": "", "client_id": "", "former": [], "forgotten_at": ""}
        ).encode(),
        json.dumps(
            {"secret": "0" * 20, "broker": "", "client_id": "", "former": 3, "forgotten_at": ""}
        ).encode(),
        json.dumps(
            {"secret": "0" * 20, "broker": "", "client_id": "", "former": [], "forgotten_at": "soon"}
        ).encode(),
        json.dumps(
            {
                "secret": "0" * 20,
                "broker": "",
                "client_id": "",
                "former": [],
                "forgotten_at": "2026-01-01T00:00:00",
            }
        ).encode(),
        b'{"secret": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_stops_no_start(tmp_path: Path, content: bytes) -> None:
    """A new id, a fault that presses may be lost, and the file is whole again."""
    (tmp_path / FILE).write_bytes(content)
    first = session(tmp_path)
    assert [subject for subject, _ in first.found()] == ["client-id-file"]
    assert "may be lost" in dict(first.found())["client-id-file"]
    second = session(tmp_path)
    assert second.client_id == first.client_id
    assert not list(second.found())


def test_a_file_that_cannot_be_made_leaves_the_id_without_a_secret(tmp_path: Path) -> None:
    """Another id at each start would leave a session behind at each. A folder in its place stops root too."""
    (tmp_path / FILE).mkdir()
    (tmp_path / FILE / "full").touch()
    first = session(tmp_path)
    assert first.client_id == PLAIN
    assert dict(first.found())
    assert session(tmp_path).client_id == PLAIN


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_stops_no_start(tmp_path: Path) -> None:
    """Unreadable: a new one takes its place."""
    confirmed(session(tmp_path))
    (tmp_path / FILE).chmod(0)
    assert dict(session(tmp_path).found())


def test_a_session_that_the_broker_forgot_is_told_for_a_day(tmp_path: Path) -> None:
    """Not at the first connection ever; after that whenever it is missing, over restarts too."""
    clock = ManualClock()
    first = session(tmp_path, clock=clock)
    first.connected(False)
    assert first.forgotten_at() is None
    confirmed(first)
    first.connected(True)
    assert first.forgotten_at() is None
    again = session(tmp_path, clock=clock)
    again.connected(False)
    assert again.forgotten_at() == clock.now()
    confirmed(again)
    third = session(tmp_path, clock=clock)
    third.connected(True)
    assert third.forgotten_at() is not None, "a session that is there now brings no press back"
    clock.step_wall(24 * 3600 + 1)
    assert third.forgotten_at() is None


def test_a_first_time_at_another_broker_is_no_loss(tmp_path: Path) -> None:
    """Another broker, or another id, never had the session."""
    confirmed(session(tmp_path))
    for how in ({"where": "127.0.0.1:1884"}, {"given": "ours"}):
        other = session(tmp_path, **how)  # type: ignore[arg-type]
        other.connected(False)
        assert other.forgotten_at() is None
