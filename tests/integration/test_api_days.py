"""What is recorded day by day over HTTP, and who the caller is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.domain.recording import Gap, GapCause
from tests.support.footage import recorded
from tests.support.http_face import CAMERA, EVERYONE, OTHER, TOKENS, Face, on_face

MIDNIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)  # of 2 March at the school


async def days_of(face: Face, camera: str, query: str = "", role: str = "guard") -> list[dict[str, Any]]:
    found = (await face.ask(f"/api/v1/recordings/days{query}", role=role)).json
    days: list[dict[str, Any]] = next(one["days"] for one in found["cameras"] if one["id"] == camera)
    return days


@on_face
async def test_days_are_the_schools_own(face: Face) -> None:
    """An hour before the school's midnight belongs to the day before, a gap over it to both; today goes up to now."""
    await recorded(face.store, face.objects, OTHER, MIDNIGHT - timedelta(hours=1), 120)
    gap = Gap(
        id="gap_1",
        camera=OTHER,
        start=MIDNIGHT - timedelta(hours=1, minutes=30),
        end=MIDNIGHT + timedelta(minutes=30),
        cause=GapCause.NETWORK,
    )
    await face.store.write(lambda tx: tx.recordings.open_gap(gap))
    face.clock.at = MIDNIGHT + timedelta(hours=2)
    days = await days_of(face, OTHER)
    assert len(days) == 31
    before, today = days[-2:]
    assert (before["day"], today["day"]) == ("2026-03-01", "2026-03-02")
    assert (before["covered_s"], before["expected_s"], before["coverage"]) == (3600, 3600, 1.0)
    assert (today["covered_s"], today["expected_s"], today["coverage"]) == (3600, 7200, 0.5)
    assert (before["gaps"], today["gaps"]) == ({"network": 5400}, {"network": 1800})
    assert (today["from"], today["to"]) == ("2026-03-02T00:00:00.000+08:00", "2026-03-02T02:00:00.000+08:00")
    assert days[0]["coverage"] is None
    assert (await days_of(face, CAMERA))[-1]["coverage"] is None


@on_face
async def test_what_is_past_its_period_is_not_missed(face: Face) -> None:
    """Only what the law asks for counts as to be there; a camera that left the plan is told of as well."""
    await recorded(face.store, face.objects, "cam-replaced", MIDNIGHT, 60)
    face.clock.at = MIDNIGHT + timedelta(days=31)
    query = "?from=2026-03-02T00:00:00%2B08:00&to=2026-03-04T00:00:00%2B08:00"
    first, second = await days_of(face, "cam-replaced", query)
    assert (first["covered_s"], first["expected_s"], first["coverage"]) == (3600, 0, None)
    assert second["expected_s"] == 24 * 3600
    wrong = await face.ask("/api/v1/recordings/days?from=2024-01-01T00:00:00Z", role="guard")
    assert wrong.problem == "invalid"


@on_face
async def test_sums_name_nobody_and_leave_no_line(face: Face) -> None:
    """They are open to guard, technician and inspector, without a reason."""
    for role in ("guard", "technician", "inspector"):
        assert (await face.ask("/api/v1/recordings/days", role=role)).status == 200
    assert (await face.ask("/api/v1/recordings/days", role="centre")).problem == "wrong-role"
    assert (await face.ask("/api/v1/access-register", role="inspector")).json["lines"] == []


@on_face
async def test_a_token_may_ask_who_it_is(face: Face) -> None:
    """Name, unit and role of the access list."""
    for role in EVERYONE:
        told = (await face.ask("/api/v1/caller", role=role)).json
        assert told == {"name": TOKENS[role].name, "unit": TOKENS[role].unit, "role": role}
