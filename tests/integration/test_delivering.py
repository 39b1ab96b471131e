"""Delivering on the real database: every message due goes to the centre until it is received.

One file, though long: its tests share one post.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.alarm.delivering import SLOTS_OTHER, SLOTS_PRESS
from gateway.domain.alarm import State
from gateway.domain.message import Answer, Message, MessageType
from gateway.watch.supervising import announce_plan
from tests.support.builders import alarm, envelopes
from tests.support.clock import ManualClock, run
from tests.support.hearing import reply_item, saying
from tests.support.paths import OK, REFUSED, Tried
from tests.support.post import AWAY, Post, post


def test_the_schedule_is_kept_to_the_second(tmp_path: Path) -> None:
    """0, 1, 2, 4, 8, 15, 30 s after the first attempt, then every 30 s, without end; every attempt is on record."""

    async def story() -> None:
        async with post(tmp_path, answer=AWAY) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(3600)
            times = p.paths[0].times_s(m.id)
            assert times[:10] == [0, 1, 2, 4, 8, 15, 30, 60, 90, 120]
            assert times[-1] == 3600
            rows = await p.store.read(lambda tx: tx.messages.pending(0, 10))
            assert [(n_m[1].attempts, n_m[1].body) for n_m in rows] == [(len(times), m.body)]
            p.paths[0].answer = lambda _: OK
            await p.clock.advance(33)
            assert await p.undelivered() == 0
            assert p.answers == [m.id]

    run(story())


def test_body_and_id_are_the_same_at_every_attempt(tmp_path: Path) -> None:
    """What was committed is what is sent, attempt after attempt, over a restart too."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(40)
            bodies = {t.body for t in p.paths[0].tried}
        async with post(tmp_path, answer=REFUSED) as p:
            await p.clock.advance(40)
            assert len(p.paths[0].tried) >= 2
            assert bodies | {t.body for t in p.paths[0].tried} == {m.body}

    run(story())


def test_nothing_goes_out_behind_a_2xx_whose_body_is_still_coming(tmp_path: Path) -> None:
    """The status line is the answer; the rest may take as long as it likes."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].rest_s = 9.5
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(9)
            assert p.paths[0].times_s(m.id) == [0]
            await p.clock.advance(60)
            assert [path.times_s(m.id) for path in p.paths] == [[0], []]
            assert await p.undelivered() == 0

    run(story())


@pytest.mark.parametrize(
    "failure",
    [OverflowError("date value out of range"), ValueError("no"), RecursionError(), UnicodeError("\ud800")],
    ids=repr,
)
def test_an_exception_in_an_attempt_is_a_failed_attempt(tmp_path: Path, failure: Exception) -> None:
    """On that path and of that message: the stage goes on, the other path has it in time, and the cause is on record."""

    def fails(_: Tried) -> Answer:
        raise failure

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = fails
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(19)
            assert p.paths[0].times_s(m.id) == [0, 1, 2, 4, 8, 15]
            assert type(failure).__name__ in p.delivering.health[0].cause
            await p.clock.advance(5)
            assert await p.undelivered() == 0
            assert len(p.paths[1].times_s(m.id)) == 1

    run(story())


def test_an_answer_that_cannot_be_put_on_record_is_received(tmp_path: Path) -> None:
    """Its words are left out before the process would end of them again and again."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=200, detail="half a character: \ud800")) as p:
            await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(2)
            assert await p.undelivered() == 0

    run(story())


def test_attempts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """While the first attempt hangs, the next ones are made on time, and another message is not held up."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].hold_s = 10
            (m,) = await p.put(MessageType.ALARM_RAISED)
            (n,) = await p.put(MessageType.ALARM_EVIDENCE)
            await p.clock.advance(9)
            assert p.paths[0].times_s(m.id) == [0, 1, 2, 4, 8]
            assert p.paths[0].times_s(n.id) == [0, 1, 2, 4, 8]
            await p.clock.advance(30)
            assert await p.undelivered() == 0

    run(story())


def test_a_wall_clock_set_back_does_not_silence_an_alarm(tmp_path: Path) -> None:
    """The box starts in 2030 and NTP brings it back: retries go on as if nothing had happened."""

    async def story() -> None:
        async with post(tmp_path, paths=2, answer=AWAY) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(3)
            p.clock.step_wall(-4 * 365 * 86400)
            await p.clock.advance(30)
            assert p.paths[0].times_s(m.id) == [0, 1, 2, 4, 8, 15, 30]
            assert p.paths[1].tried

    run(story())


def test_a_wall_clock_set_forward_makes_no_storm(tmp_path: Path) -> None:
    """A day gained at once does not make up for a day of attempts."""

    async def story() -> None:
        async with post(tmp_path, answer=AWAY) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(3)
            p.clock.step_wall(86400)
            await p.clock.advance(30)
            assert p.paths[0].times_s(m.id) == [0, 1, 2, 4, 8, 15, 30]

    run(story())


def test_a_restart_takes_up_the_outbox_at_once_and_makes_no_storm(tmp_path: Path) -> None:
    """What waited is due at once, then goes on in its schedule, however long the box was off."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(5)
        clock = ManualClock()
        clock.step_wall(86400)
        async with post(tmp_path, clock=clock, answer=REFUSED) as p:
            await p.clock.advance(100)
            assert p.paths[0].times_s(m.id) == [0, 7, 22, 52, 82]
            p.paths[0].answer = lambda _: OK
            await p.clock.advance(33)
            assert await p.undelivered() == 0

    run(story())


def test_when_a_path_answers_again_everything_is_due_at_once_in_order_of_class(tmp_path: Path) -> None:
    """After an outage nothing waits for its turn, and presses go first, the plan last."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            types = [
                MessageType.SITE_PLAN,
                MessageType.ALARM_EVIDENCE,
                MessageType.FAULT_RAISED,
                MessageType.ALARM_NOTE,
                MessageType.ALARM_RAISED,
            ]
            await p.put(*types)
            await p.clock.advance(40)
            p.paths[0].tried.clear()
            p.paths[0].answer = lambda _: OK
            p.delivering.heartbeat_answered(0, OK)
            await p.clock.settle()
            assert p.paths[0].types() == [t.value for t in reversed(types)]
            assert await p.undelivered() == 0

    run(story())


def test_after_an_outage_no_class_overtakes_a_higher_one(tmp_path: Path) -> None:
    """More alerts wait than there are slots: evidence stands back until the last of them has begun."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            await p.put(*[MessageType.ALARM_EVIDENCE] * 5, *[MessageType.ALARM_RAISED] * 250)
            await p.clock.advance(40)
            p.paths[0].tried.clear()
            p.paths[0].answer = lambda _: OK
            p.delivering.heartbeat_answered(0, OK)
            await p.clock.settle()
            assert p.paths[0].types() == ["alarm.raised"] * 250 + ["alarm.evidence"] * 5
            assert await p.undelivered() == 0

    run(story())


def test_both_paths_failing_does_not_keep_a_message_from_being_due(tmp_path: Path) -> None:
    """After rounds over two dead paths, the answer of either makes everything due at once."""

    async def story() -> None:
        async with post(tmp_path, paths=2, answer=REFUSED) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(70)
            p.paths[1].answer = lambda _: OK
            p.delivering.heartbeat_answered(1, OK)
            await p.clock.settle()
            assert await p.undelivered() == 0
            assert p.paths[1].tried[-1].message == m.id

    run(story())


def test_two_paths_do_not_halve_the_schedule(tmp_path: Path) -> None:
    """A message that goes over both from the start is tried as often as over one."""

    async def story() -> None:
        async with post(tmp_path, paths=2, answer=REFUSED) as p:
            (m,) = await p.put(MessageType.ALARM_ESCALATED)
            await p.clock.advance(16)
            assert p.paths[0].times_s(m.id) == p.paths[1].times_s(m.id) == [0, 1, 2, 4, 8, 15]

    run(story())


def test_where_slots_are_few_the_higher_class_goes_first(tmp_path: Path) -> None:
    """More faults than slots are due when a note comes: as slots free, the note goes before the faults left over."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].open.clear()
            await p.put(*[MessageType.FAULT_RAISED] * (SLOTS_OTHER + 8))
            assert len(p.paths[0].tried) == SLOTS_OTHER
            await p.put(MessageType.ALARM_NOTE, MessageType.ALARM_RAISED)
            assert p.paths[0].types()[SLOTS_OTHER:] == ["alarm.raised"]
            p.paths[0].open.set()
            await p.clock.settle()
            rest = p.paths[0].types()[SLOTS_OTHER + 1 :]
            assert rest[0] == "alarm.note"
            assert await p.undelivered() == 0

    run(story())


def test_a_burst_of_presses_never_opens_more_than_its_slots(tmp_path: Path) -> None:
    """A thousand alarms are all received, each once, within the connections a path has."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].hold_s = 0.01
            said = await p.put(*[MessageType.ALARM_RAISED] * 1000)
            await p.clock.advance(2)
            assert await p.undelivered() == 0
            assert sorted(t.message for t in p.paths[0].tried) == sorted(m.id for m in said)
            assert p.paths[0].most_under_way == SLOTS_PRESS

    run(story())


def test_the_second_path_is_tried_at_once_when_the_first_has_failed_for_20_s(tmp_path: Path) -> None:
    """Same id and body, within 21 s; received there, the first is not tried any more."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: REFUSED
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(19.9)
            assert p.paths[1].tried == []
            await p.clock.advance(0.2)
            assert [(t.message, t.body) for t in p.paths[1].tried] == [(m.id, m.body)]
            assert await p.undelivered() == 0
            before = len(p.paths[0].tried)
            await p.clock.advance(120)
            assert (len(p.paths[0].tried), len(p.paths[1].tried)) == (before, 1)

    run(story())


def test_a_path_that_swallows_everything_has_failed_since_the_attempt_began(tmp_path: Path) -> None:
    """An attempt that hangs for 10 s and fails counts from its start, so the alert is on the second path in time."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].hold_s = 10
            p.paths[0].answer = lambda _: REFUSED
            await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(20.1)
            assert len(p.paths[1].tried) == 1

    run(story())


def test_while_the_first_path_is_dead_a_new_alarm_goes_over_both_at_once(tmp_path: Path) -> None:
    """The 20 s are the path's, not each message's."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: REFUSED
            await p.put(MessageType.FAULT_RAISED)
            await p.clock.advance(25)
            (m,) = await p.put(MessageType.ALARM_RAISED)
            assert [t.message for t in p.paths[1].tried][-1] == m.id
            assert await p.undelivered() == 0
            p.paths[0].answer = lambda _: OK
            p.delivering.heartbeat_answered(0, OK)
            await p.put(MessageType.ALARM_RAISED)
            assert len(p.paths[1].tried) == 2

    run(story())


def test_received_on_the_second_path_stops_the_first(tmp_path: Path) -> None:
    """An escalation goes over both; once one took it, there is no further attempt."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: AWAY
            await p.put(MessageType.ALARM_ESCALATED)
            await p.clock.advance(60)
            assert (len(p.paths[0].tried), len(p.paths[1].tried)) == (1, 1)
            assert await p.undelivered() == 0

    run(story())


#: The earlier attempts at one message, and whether a 409 after them says that the centre has it.
BEFORE_A_409 = [
    ([], False),
    ([AWAY], False),
    ([Answer(status=409)], False),
    ([Answer(status=409)] * 4, False),
    ([REFUSED], False),
    ([Answer(status=None, detail="reset while it was sent")], False),
    ([Answer(status=None, detail="no answer within 10 s", sent=True)], True),
    ([Answer(status=None, detail="cut", sent=True), AWAY], True),
    ([AWAY, Answer(status=None, detail="cut", sent=True)], True),
    ([Answer(status=409), Answer(status=None, detail="cut", sent=True)], True),
]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("before", "has_it"), BEFORE_A_409)
def test_409_is_received_only_where_the_message_may_have_got_through(
    tmp_path: Path, before: list[Answer], has_it: bool, restart: bool
) -> None:
    """An attempt at this very message was sent whole and not answered, also before a restart. Else it is a refusal: whoever
    answers 409 to everything has taken nothing, the message goes on, and the other path has it after 20 s."""
    conflict = Answer(status=409, detail="Conflict")

    async def story() -> None:
        script = list(before)
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: script.pop(0) if script else conflict
            if restart:  # one answer of 409 is on record as well, if none was cut
                p.paths[0].answer = lambda _: script.pop(0) if script else (AWAY if has_it else conflict)
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(10)
            if not restart:
                assert await p.undelivered() == (0 if has_it else 1)
                if not has_it:
                    assert "409" in p.delivering.health[0].cause
                    await p.clock.advance(11)
                    assert await p.undelivered() == 0
                    assert len(p.paths[1].times_s(m.id)) == 1
                return
            assert await p.undelivered() == 1
        clock = ManualClock()
        clock.step_wall(60)
        async with post(tmp_path, clock=clock, answer=conflict) as p:
            await p.clock.advance(35)
            assert await p.undelivered() == (0 if has_it else 1)

    run(story())


def test_409_after_a_kill_within_the_first_attempt_is_received(tmp_path: Path) -> None:
    """Nothing is on record of an attempt in which the process died; the centre may have taken it."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].open.clear()
            await p.put(MessageType.ALARM_RAISED)
        clock = ManualClock()
        clock.step_wall(5)
        async with post(tmp_path, clock=clock, answer=Answer(status=409)) as p:
            assert await p.undelivered() == 0

    run(story())


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
#: Answers by somebody else than the centre, after an answer that was JSON, or after none.
PAGES = [
    (None, Answer(status=200, body=PAGE, content_type="text/html; charset=utf-8"), True),
    (None, Answer(status=200, body=PAGE, content_type=""), True),
    (None, Answer(status=200, body=b"  \n<HTML>", content_type="text/plain"), True),
    (None, Answer(status=202, body=b"ok", content_type="Text/HTML"), True),
    *(
        (None, Answer(status=200, body=body, content_type=type_), True)
        for body in (
            b"\xef\xbb\xbf<!DOCTYPE html>",
            b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">',
            b"<!-- proxy 7 --><!-- served -->\r\n<html>",
            b"<head><title>Login</title>",
            b'<META HTTP-EQUIV="refresh" content="0;url=http://192.0.2.1/">',
            b"<script>top.self.location.href='http://192.0.2.1/'</script>",
            "<html>登录</html>".encode("utf-16"),
            "<html>登录</html>".encode("gb18030"),
        )
        for type_ in ("", "application/octet-stream", "application/json")
    ),
    (None, Answer(status=200, body=b"<ok/>", content_type="text/xml"), False),
    (None, Answer(status=200, body=b'<?xml version="1.0"?><ack id="1"/>'), False),
    (None, Answer(status=200, body=b"<headers/>"), False),
    (None, Answer(status=200, content_type="text/html", lost="is too long and was dropped"), True),
    (b"{}", Answer(status=200, body=b"logged out", content_type="text/plain"), True),
    (b"{}", Answer(status=200, body=b"OK"), True),
    (None, Answer(status=200, body=b"OK", content_type="text/plain"), False),
    (None, Answer(status=204, content_type="text/html"), False),
    (b"{}", Answer(status=204), False),
    (b"{}", Answer(status=200, content_type="text/html"), False),
    (b"{}", Answer(status=200, body=b'{"a": 1}', content_type="text/plain"), False),
]


@pytest.mark.parametrize(("before", "answer", "strange"), PAGES)
def test_a_page_in_place_of_an_answer_is_a_fault_and_the_second_path_is_tried(
    tmp_path: Path, before: bytes | None, answer: Answer, strange: bool
) -> None:
    """It goes out no more over the path that said 2xx, over a restart too; the second path has it at once; and it is told."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            if before is not None:
                p.delivering.heartbeat_answered(0, Answer(status=200, body=before))
            p.paths[0].answer = lambda _: answer
            p.paths[1].answer = lambda _: AWAY
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(6)
            assert len(p.paths[0].times_s(m.id)) == 1
            assert bool(p.delivering.pages) == strange
            assert bool(p.paths[1].tried) == strange
            assert await p.undelivered() == strange
            if strange:
                assert "call the centre" in p.delivering.pages["first"]
                assert p.delivering.health[0].failing_since is not None
        if not strange:
            return
        async with post(tmp_path, paths=2) as p:
            p.paths[0].answer = lambda _: answer
            await p.clock.advance(1)
            assert (p.paths[0].tried, [t.message for t in p.paths[1].tried]) == ([], [m.id])
            assert await p.undelivered() == 0

    run(story())


def test_a_page_on_the_only_path_is_received_and_told_until_a_true_answer(tmp_path: Path) -> None:
    """Nobody is there who could know better; the fault stays until the path answers otherwise."""

    async def story() -> None:
        async with post(tmp_path, answer=PAGES[0][1]) as p:
            await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(40)
            assert (await p.undelivered(), len(p.paths[0].tried)) == (0, 1)
            assert "first" in p.delivering.pages
            p.delivering.heartbeat_answered(0, OK)
            assert p.delivering.pages == {}
            p.delivering.heartbeat_answered(0, PAGES[0][1])
            assert "web page" in p.delivering.pages["first"]

    run(story())


def test_410_is_a_fault_and_never_the_end_of_an_alarm(tmp_path: Path) -> None:
    """Gone is said aloud, the alarm is tried on, and the fault ends when the centre takes something again."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=410)) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(8)
            assert p.paths[0].times_s(m.id) == [0, 1, 2, 4, 8]
            assert "410" in p.delivering.gone["first"]
            p.paths[0].answer = lambda _: OK
            await p.clock.advance(8)
            assert p.delivering.gone == {}
            assert await p.undelivered() == 0

    run(story())


@pytest.mark.parametrize(("asked_s", "next_s"), [(3.0, 3.0), (20.0, 20.0), (3600.0, 30.0), (0.0, 1.0)])
def test_retry_after_is_honoured_up_to_30_s(tmp_path: Path, asked_s: float, next_s: float) -> None:
    """A centre may ask for patience, but not for more than half a minute."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=503, retry_after_s=asked_s)) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(35)
            assert p.paths[0].times_s(m.id)[:2] == [0, next_s]

    run(story())


def test_retry_after_holds_while_other_messages_are_taken(tmp_path: Path) -> None:
    """A centre that is too busy for this one asked for patience; its answer to a heartbeat does not take that back."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=503, retry_after_s=9)) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            for _ in range(20):
                await p.clock.advance(1)
                p.delivering.heartbeat_answered(0, OK)
            assert p.paths[0].times_s(m.id) == [0, 9, 18]

    run(story())


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 500, 502])
def test_every_other_answer_is_tried_again(tmp_path: Path, status: int) -> None:
    """Neither a redirect nor an error is an end."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=status)) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(2)
            assert p.paths[0].times_s(m.id) == [0, 1, 2]
            assert await p.undelivered() == 1

    run(story())


def test_one_message_the_centre_refuses_makes_no_storm(tmp_path: Path) -> None:
    """While others are taken all the time, the refused one keeps to its schedule."""

    async def story() -> None:
        async with post(tmp_path) as p:

            def answer(tried: Tried) -> Answer:
                return Answer(status=400) if tried.type == "alarm.note" else OK

            p.paths[0].answer = answer
            (bad,) = await p.put(MessageType.ALARM_NOTE)
            for _ in range(100):
                await p.put(MessageType.ALARM_EVIDENCE)
                await p.clock.advance(0.1)
            assert p.paths[0].times_s(bad.id) == [0, 1, 2, 4, 8]

    run(story())


def test_a_flapping_path_makes_no_storm(tmp_path: Path) -> None:
    """A path that answers heartbeats and refuses messages is asked at most once a second."""

    async def story() -> None:
        async with post(tmp_path, answer=AWAY) as p:
            (m,) = await p.put(MessageType.ALARM_RAISED)
            for _ in range(200):
                await p.clock.advance(0.1)
                p.delivering.heartbeat_answered(0, OK)
                await p.clock.settle()
            assert len(p.paths[0].times_s(m.id)) <= 22

    run(story())


def test_a_newer_plan_supersedes_what_nobody_received(tmp_path: Path) -> None:
    """Only the newest plan is delivered after an outage, also over a restart."""

    async def story() -> None:
        async with post(tmp_path, answer=REFUSED) as p:
            await announce_plan(p.store, p.clock, envelopes(), p.delivering.wake.set)
            await p.clock.advance(3)
            await announce_plan(p.store, p.clock, envelopes(), p.delivering.wake.set)
            await p.clock.settle()
            assert p.delivering.undelivered == await p.undelivered() == 1
        async with post(tmp_path) as p:
            assert p.paths[0].types() == ["site.plan"]
            assert await p.undelivered() == 0

    run(story())


def test_a_received_alarm_is_on_its_timeline_once(tmp_path: Path) -> None:
    """The step says over which path; a second answer over the other path adds none."""

    async def story() -> None:
        async with post(tmp_path, paths=2) as p:
            one = alarm()
            now = p.clock.now()
            one, said = envelopes().about_alarm(one, MessageType.ALARM_RAISED, {}, at=now, now=now)

            def work(tx: object) -> None:
                tx.alarms.add(one)  # type: ignore[attr-defined]
                tx.messages.add(said)  # type: ignore[attr-defined]

            await p.store.inner.write(work)
            p.delivering.offer(said)
            p.delivering.wake.set()
            await p.clock.settle()
            steps = await p.store.read(lambda tx: tx.alarms.timeline(one.id))
            assert [(s.what, s.detail) for s in steps] == [("received", {"path": "first"})]
            assert len(p.paths[0].tried) == 1

    run(story())


def test_what_was_received_is_put_on_record_when_the_disk_is_back(tmp_path: Path) -> None:
    """A full disk at the moment of the answer must not make the message go out again after a restart."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.store.refuse = 3
            await p.put(MessageType.ALARM_RAISED)
            await p.clock.advance(5)
            assert await p.undelivered() == 0
            assert len(p.paths[0].tried) == 1

    run(story())


def _replying(tried: Tried, *items: dict[str, Any]) -> Answer:
    return saying(replies=list(items)) if tried.type == "alarm.raised" else OK


async def _alarm_out(p: Post) -> Message:
    """Commit an alarm with its alert, as intake does."""
    now = p.clock.now()
    one, said = envelopes().about_alarm(alarm(), MessageType.ALARM_RAISED, {}, at=now, now=now)

    def work(tx: Any) -> None:
        tx.alarms.add(one)
        tx.messages.add(said)

    await p.store.inner.write(work)
    p.delivering.wake.set()
    await p.clock.settle()
    return said


async def _state_and_waiting(p: Post) -> tuple[State, int]:
    found = await p.store.inner.read(lambda tx: tx.alarms.get("alm_1"))
    assert found is not None
    return found.state, await p.undelivered()


def test_an_answer_that_accepts_is_applied_in_the_commit_that_records_it(tmp_path: Path) -> None:
    """One commit for both, so that no crash can come between: neither stands while the disk is full, then both do."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].answer = lambda tried: _replying(tried, reply_item())
            p.store.refuse = 3
            await _alarm_out(p)
            assert await _state_and_waiting(p) == (State.RAISED, 1)
            commits = p.store.commits
            await p.clock.advance(5)
            assert await _state_and_waiting(p) == (State.ACCEPTED, 0)
            assert p.store.commits == commits + 1
            assert p.ear.woken == ["gathering", "delivering"]

    run(story())


def test_what_an_answer_said_before_a_crash_is_said_and_applied_again(tmp_path: Path) -> None:
    """The process dies before the commit: the message goes again after the start, and its answer is applied, once."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].answer = lambda tried: _replying(tried, reply_item())
            p.store.refuse = 1000
            said = await _alarm_out(p)
            assert [t.message for t in p.paths[0].tried] == [said.id]
        async with post(tmp_path, answer=saying(replies=[reply_item()])) as p:
            assert await _state_and_waiting(p) == (State.ACCEPTED, 0)
            steps = await p.store.inner.read(lambda tx: tx.alarms.timeline("alm_1"))
            assert sorted(s.what for s in steps) == ["received", "replied"]

    run(story())


def test_an_answer_that_breaks_us_does_not_stop_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours in applying an item costs that item: the alert counts as received and the stage goes on."""

    async def story() -> None:
        async with post(tmp_path) as p:

            def fails(*_: object) -> Any:
                raise ZeroDivisionError("ours")

            monkeypatch.setattr(p.ear.hearing, "_say", fails)
            p.paths[0].answer = lambda tried: _replying(tried, reply_item())
            await _alarm_out(p)
            assert await _state_and_waiting(p) == (State.RAISED, 0)
            assert "ZeroDivisionError" in p.ear.refused["item r-1"]
            await p.put(MessageType.ALARM_NOTE)
            assert await p.undelivered() == 0

    run(story())


@pytest.mark.parametrize("status", [200, 409])
def test_an_item_is_heard_in_any_answer_that_counts_as_received(tmp_path: Path, status: int) -> None:
    """Also in the 409 of a centre that has had the message before."""

    async def story() -> None:
        async with post(tmp_path, answer=Answer(status=None, detail="cut", sent=True)) as p:
            await _alarm_out(p)
            p.paths[0].answer = lambda tried: replace(_replying(tried, reply_item()), status=status)
            await p.clock.advance(2)
            assert await _state_and_waiting(p) == (State.ACCEPTED, 0)

    run(story())


def test_an_item_in_an_answer_that_is_no_receipt_is_not_heard(tmp_path: Path) -> None:
    """A 503 with a reply in it says that nothing was taken."""

    async def story() -> None:
        async with post(tmp_path) as p:
            p.paths[0].answer = lambda tried: replace(_replying(tried, reply_item()), status=503)
            await _alarm_out(p)
            await p.clock.advance(5)
            assert await _state_and_waiting(p) == (State.RAISED, 1)

    run(story())
