"""A wrong clock on either side is a fault and never a silence: signatures bear the time that the centre takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook

from drivers.uplinks.webhook import WebhookPath
from gateway.domain.message import Answer
from tests.support.clock import ManualClock, run
from tests.support.raw_centre import raw_centre

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOLERANCE_S = 300
Tells = Callable[[datetime], datetime | None]


class StrictCentre:
    """It refuses signatures that are more than 5 minutes from its own clock, and tells a time by ``tells``."""

    def __init__(self, clock: ManualClock, ahead_s: float, tells: Tells, *, status: int = 400) -> None:
        self._clock = clock
        self._ahead = timedelta(seconds=ahead_s)
        self._tells = tells
        self._status = status
        self.taken: list[bytes] = []
        self.stamps: list[int] = []

    def __call__(self, head: bytes, body: bytes) -> bytes:
        now = self._clock.now() + self._ahead
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line]
        headers = {name.lower(): value for name, value in lines}
        stamp = int(headers["webhook-timestamp"])
        self.stamps.append(stamp)
        signed = Webhook(SECRET).sign(
            headers["webhook-id"], datetime.fromtimestamp(stamp, UTC), body.decode()
        )
        assert signed == headers["webhook-signature"]
        good = abs(stamp - now.timestamp()) <= TOLERANCE_S
        if good:
            self.taken.append(body)
        told = self._tells(now)
        date = b"" if told is None else f"Date: {format_datetime(told, usegmt=True)}\r\n".encode()
        status = b"204 No Content" if good else b"%d No" % self._status
        return b"HTTP/1.1 " + status + b"\r\n" + date + b"Content-Length: 0\r\n\r\n"


async def tried(clock: ManualClock, path: WebhookPath, times: int, *, every_s: float = 1.0) -> list[Answer]:
    answers = []
    for number in range(times):
        answers.append(await path.deliver(f"msg_{number}", b"{}"))
        await clock.advance(every_s)
    return answers


def truly(now: datetime) -> datetime:
    return now


def never(_: datetime) -> None:
    return None


def nonsense(chance: random.Random) -> Tells:
    return lambda now: now + timedelta(seconds=chance.randrange(-(10**8), 10**8))


DAY = 86400.0
#: How far the centre is ahead, the time it tells, and how many of 20 attempts it has to take.
CLOCKS: list[tuple[str, float, Tells, int]] = [
    ("both right", 0, truly, 20),
    ("ours 4 minutes slow", 240, truly, 20),
    ("ours 10 minutes slow", 600, truly, 18),
    ("ours 10 minutes fast", -600, truly, 18),
    ("ours an hour fast", -3600, truly, 18),
    ("ours a month slow", 30 * DAY, truly, 18),
    ("ours of 1999", 27 * 365 * DAY, truly, 18),
    ("ours right, a false time told", 0, lambda now: now + timedelta(hours=5), 20),
    ("ours right, no time told", 0, never, 20),
    ("ours right, nonsense told", 0, nonsense(random.Random(1)), 20),
    ("ours slow, no time told", 600, never, 0),
    ("ours slow, a false time told", 600, lambda now: now - timedelta(hours=5), 0),
]


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    ("ahead_s", "tells", "taken"), [row[1:] for row in CLOCKS], ids=[row[0] for row in CLOCKS]
)
def test_a_wrong_clock_silences_nothing(ahead_s: float, tells: Tells, taken: int, status: int) -> None:
    """Ours first; the told time once it was told twice, and only where ours is refused."""

    async def story() -> None:
        clock = ManualClock()
        centre = StrictCentre(clock, ahead_s, tells, status=status)
        async with raw_centre(centre) as at:
            path = WebhookPath("first", at.url, SECRET, clock)
            await path.start()
            answers = await tried(clock, path, 20)
            await path.stop()
        assert len(centre.taken) == taken
        apart = path.clocks_apart
        if taken == 18:
            assert [a.status == 204 for a in answers] == [False] * 2 + [True] * 18
            assert apart is not None
            assert apart.used
            assert abs(apart.by_s - ahead_s) <= 2
            words = apart.words("first", lambda at: at.isoformat())
            assert str(abs(apart.by_s)) in words
            assert "NTP" in words
        elif taken == 20:
            assert apart is None or not apart.used

    run(story())


def test_a_false_time_costs_every_other_attempt_at_the_most() -> None:
    """A path that refuses once, and lies about the time, cannot silence what is signed with a right clock."""

    async def story() -> None:
        clock = ManualClock()
        strict = StrictCentre(clock, 0, lambda now: now + timedelta(days=400))
        refuses = [True, True, False, True, False, False, True]

        def says(head: bytes, body: bytes) -> bytes:
            answer = strict(head, body)
            return answer.replace(b"204 No Content", b"400 No") if refuses and refuses.pop(0) else answer

        async with raw_centre(says) as at:
            path = WebhookPath("first", at.url, SECRET, clock)
            await path.start()
            answers = await tried(clock, path, 30)
            await path.stop()
        statuses = [a.status for a in answers]
        assert all(204 in pair for pair in zip(statuses[7:], statuses[8:], statuses[9:], strict=False))
        assert statuses[-10:] == [204] * 10

    run(story())


def test_a_hundred_refusals_at_once_change_the_time_once() -> None:
    """Or an even number of them would change nothing."""

    async def story() -> None:
        clock = ManualClock()
        centre = StrictCentre(clock, 900, truly)
        async with raw_centre(centre) as at:
            path = WebhookPath("first", at.url, SECRET, clock)
            await path.start()
            for _ in range(3):
                await asyncio.gather(*(path.deliver(f"msg_{n}", b"{}") for n in range(100)))
                await clock.advance(1)
            assert len(centre.taken) >= 100
            centre.taken.clear()
            await tried(clock, path, 10)
            assert len(centre.taken) == 10
            await path.stop()

    run(story())


def test_a_clock_that_is_set_right_is_used_again() -> None:
    """By NTP, in the midst of it; and one that goes wrong in the midst of it costs two attempts."""

    async def story() -> None:
        clock = ManualClock()
        true = ManualClock()
        centre = StrictCentre(true, 0, truly)
        async with raw_centre(centre) as at:
            path = WebhookPath("first", at.url, SECRET, clock)
            await path.start()

            async def attempts(most_refused: int) -> None:
                statuses = []
                for number in range(6):
                    statuses.append((await path.deliver(f"msg_{number}", b"{}")).status)
                    await clock.advance(1)
                    await true.advance(1)
                assert statuses.count(400) <= most_refused
                assert statuses[-3:] == [204] * 3

            await attempts(0)
            clock.step_wall(-7200)
            await attempts(1)
            assert path.clocks_apart is not None
            clock.step_wall(7200)
            await attempts(0)
            assert path.clocks_apart is None
            clock.step_wall(+86400)
            await attempts(1)
            await path.stop()

    run(story())
