"""A school nobody can call: the alarm is accepted, and a clip asked for and told of, by answers alone."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.forging_proxy import Forgery, ForgingProxy
from tests.support.processes import (
    ANSWER_SECRET,
    Campus,
    Gateway,
    any_broker,
    free_port,
    site_yaml,
    topic,
    wait_for,
)

SIGNED = ", answer_secret: {env: CENTRE_ANSWER_SECRET}"
APPLIED_WITHIN_S = 3.0


def _of(campus: Campus, alarm: str) -> dict[str, Any]:
    return next(a for a in campus.alarms() if a["id"] == alarm)


def _steps(gateway: Gateway, alarm: str, what: str) -> list[dict[str, Any]]:
    timeline = gateway.get(f"/api/v1/alarms/{alarm}")["timeline"]
    return [step for step in timeline if step["what"] == what]


@pytest.mark.slow
def test_a_school_behind_nat_is_answered_within_three_seconds(tmp_path: Path) -> None:
    """Every address the school gives out refuses connections; alert, accept, a clip request and its result all work."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, "--answers-only", cameras=1) as campus,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(
            broker=broker,
            centre=campus.centre_url,
            cameras=campus.cameras,
            webhook=SIGNED,
            public_url=nowhere,
        )
        with Gateway(tmp_path, site) as gateway:
            wait_for(lambda: gateway.rings_hold(5), within_s=40, what="the ring holds 5 s")
            button.press(topic(0))
            alarm = wait_for(campus.alarms, within_s=5, what="the alert at the centre")[0]
            assert alarm["raised"]["data"]["reply_url"].startswith(nowhere)
            for word in ("accepted", "dispatched", "arrived"):
                said_s = time.time()
                sent = campus.reply(alarm["id"], word)
                assert sent["status"] == 200, sent
                at = datetime.fromisoformat(_steps(gateway, alarm["id"], "replied")[-1]["at"])
                took_s = at.timestamp() - said_s
                print(f"{word}: applied {took_s:.2f} s after the operator said so")
                assert took_s < APPLIED_WITHIN_S
            pressed = datetime.fromisoformat(alarm["raised"]["data"]["alarm"]["pressed_at"])
            span = {"from": pressed - timedelta(seconds=3), "to": pressed + timedelta(seconds=1)}
            said_s = time.time()
            sent = campus.request(
                alarm["id"], request="clip", camera="cam-1", **{k: v.isoformat() for k, v in span.items()}
            )
            assert sent["status"] == 202, sent
            at = datetime.fromisoformat(_steps(gateway, alarm["id"], "requested")[-1]["at"])
            assert at.timestamp() - said_s < APPLIED_WITHIN_S
            result = wait_for(
                lambda: _of(campus, alarm["id"])["results"], within_s=15, what="request.result at the centre"
            )[0]["data"]
            assert (result["ok"], result["item"], result["request"]) == (
                True,
                sent["item"],
                sent["answer"]["request"],
            ), result
            told = [e["announced"] for e in _of(campus, alarm["id"])["evidence"]]
            assert result["evidence"] in [e["id"] for e in told]
            refused = campus.request(alarm["id"], request="still", camera="cam-gone")
            assert "cam-gone" in refused["answer"]["reason"]
            wait_for(
                lambda: ("centre", f"item {refused['item']}") in gateway.faults(),
                within_s=5,
                what="a fault that names the refused item",
            )
            state = campus.state()
            assert (state["problems"], state["refusals"], state["waiting"]) == ([], [], [])
            assert len(_steps(gateway, alarm["id"], "replied")) == 3
            assert len(_steps(gateway, alarm["id"], "requested")) == 1


@pytest.mark.parametrize("forgery", ["unsigned", "wrong-key", "stale", "replayed", "altered"])
def test_a_proxy_that_forges_an_accepted_changes_nothing_and_is_told_of(
    tmp_path: Path, forgery: Forgery
) -> None:
    """Forged answers to heartbeats move no alarm and raise a fault; once it lets the centre's own word through, that counts."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, "--answers-only") as campus,
        ForgingProxy(campus.centre_url, ANSWER_SECRET) as proxy,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(broker=broker, centre=proxy.url, webhook=SIGNED)
        with Gateway(tmp_path, site) as gateway:
            wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="the plan is out")
            button.press(topic(0))
            alarm = wait_for(campus.alarms, within_s=5, what="the alert at the centre")[0]["id"]
            proxy.alarm, proxy.mode = alarm, forgery
            true = threading.Thread(target=campus.reply, args=(alarm, "dispatched"))
            true.start()
            wait_for(lambda: proxy.forged >= 2, within_s=20, what="two forged answers")
            fault = ("centre", "doubtful-answers")
            cause = wait_for(lambda: gateway.faults().get(fault), within_s=5, what="a fault says so")
            print(f"{proxy.forged} forged: {cause}")
            assert gateway.alarms()[0]["state"] == "raised"
            assert _steps(gateway, alarm, "replied") == []
            proxy.mode = "pass"
            wait_for(
                lambda: gateway.alarms()[0]["state"] == "dispatched", within_s=6, what="the centre's own word"
            )
            true.join(10)
            assert fault in gateway.faults(), "a good answer hid the forged ones at once"
            (step,) = _steps(gateway, alarm, "replied")
            assert step["detail"]["name"] == "王警官"
