"""When a camera's thread may rest, and that nobody who waits for a picture waits for it."""

from __future__ import annotations

import threading
import time

import pytest

from drivers.cameras.worker.frames import pacing
from drivers.cameras.worker.frames.pacing import LONGEST_S, MOST_BYTES, SETTLED_S, Flow, Pace, rest_s

AS_USUAL = Flow(
    behind_s=0.05, interval_s=0.04, bytes_per_s=250_000, reorder_s=0.0, unsteady_s=0.002, skew=0.0
)
"""25 pictures a second at 2 Mbit/s, the newest one whole since the next has begun."""


def test_a_stream_as_usual_is_rested_from_as_long_as_its_bytes_allow() -> None:
    """Never longer than pictures may lie there, nor so long that the camera would have to wait for us."""
    assert rest_s(AS_USUAL, SETTLED_S) == LONGEST_S
    for bytes_per_s in (500_000, 2_000_000):
        assert rest_s(AS_USUAL._replace(bytes_per_s=bytes_per_s), 100.0) * bytes_per_s == pytest.approx(
            MOST_BYTES
        )


@pytest.mark.parametrize(
    ("flow", "age_s"),
    [
        pytest.param(AS_USUAL, SETTLED_S - 0.1, id="its time is not settled"),
        pytest.param(AS_USUAL._replace(reorder_s=0.08), 100.0, id="out of order"),
        pytest.param(AS_USUAL._replace(interval_s=0.2), 100.0, id="few pictures"),
        pytest.param(AS_USUAL._replace(behind_s=0.3), 100.0, id="behind"),
        pytest.param(AS_USUAL._replace(bytes_per_s=0.0), 100.0, id="no rate"),
        pytest.param(AS_USUAL._replace(unsteady_s=0.02), 100.0, id="unsteady"),
        pytest.param(AS_USUAL._replace(skew=-0.001), 100.0, id="its time runs wrong"),
    ],
)
def test_others_are_read_as_they_come(flow: Flow, age_s: float) -> None:
    """Each for a reason of its own."""
    assert rest_s(flow, age_s) == 0.0


def test_who_waits_for_a_picture_ends_the_rest_and_all_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rest that would last for minutes ends as somebody hurries; the next ones are none, up to the moment named."""
    monkeypatch.setattr(pacing, "LONGEST_S", 600.0)
    monkeypatch.setattr(pacing, "SETTLED_S", 0.0)
    pace, rested = Pace(), list[bool]()
    slow = AS_USUAL._replace(bytes_per_s=1.0)
    resting = threading.Thread(target=lambda: rested.append(pace.rest(slow)), daemon=True)
    resting.start()
    resting.join(0.2)
    assert resting.is_alive()
    pace.hurry(time.monotonic() + 600.0)
    resting.join(10.0)
    assert not resting.is_alive()
    assert rested == [True]
    assert pace.rest(slow) is False
