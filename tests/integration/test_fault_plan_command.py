"""`campus-simulators faults` as a process, on a broker, a camera and a centre that are running."""

from __future__ import annotations

import http.server
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.faults import read_plan
from tests.support.mosquitto import running_mosquitto
from tests.support.processes import Campus, get_json, wait_for

_COMMAND = [sys.executable, "-W", "error", "-m", "simulators", "faults"]
_WITHIN_S = 30.0


def command(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *words], input=stdin, capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )


@contextmanager
def heard(broker: str) -> Iterator[queue.Queue[mqtt.MQTTMessage]]:
    """Everything published on the broker, in its order."""
    messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    subscribed: queue.Queue[bool] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _userdata, message: messages.put(message)
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.connect("127.0.0.1", int(broker.rpartition(":")[2]))
    client.loop_start()
    client.subscribe("#", qos=1)
    subscribed.get(timeout=10)
    yield messages
    client.disconnect()
    client.loop_stop()


def test_print_needs_nothing_that_runs_and_is_the_same_each_time() -> None:
    """The same words print the same plan in both forms, and nothing else."""
    words = ("--print", "--seed", "7", "--minutes", "2")
    table, again = command(*words), command(*words)
    assert (table.returncode, table.stderr) == (0, "")
    assert table.stdout == again.stdout
    lines = command(*words, "--format", "json")
    assert read_plan(lines.stdout) == read_plan(table.stdout)
    assert {line.simulator for line in read_plan(lines.stdout)} == {"button", "camera-1", "centre", "media"}


def test_a_plan_without_a_seed_says_which_it_took() -> None:
    """What is above the plan makes the very same plan again."""
    first = command("--print", "--minutes", "1")
    heading = first.stdout.splitlines()[0].removeprefix("# ").split()
    assert command("--print", *heading).stdout == first.stdout


def test_presses_of_a_replayed_plan(tmp_path: Path) -> None:
    """Each press of a button meets its fault on its way through a real broker."""
    plan = """
        0    - button none           -
        0.1  - button drop           -
        0.2  - button duplicate      2
        0.3  - button reorder        -
        0.4  - button skew           -600
        0.5  - button cut            8
        0.6  - button retained       -
        0.7  - button wrong-password -
        0.8  - button delay          0.5
    """
    with running_mosquitto(tmp_path) as broker, heard(broker) as messages:
        done = command("--replay", "-", "--broker", broker, "--topic", "a", "--topic", "b", stdin=plan)
        assert done.returncode == 0, done.stderr
        assert read_plan(done.stdout) == read_plan(plan)
        came = [messages.get(timeout=10) for _ in range(11)]
    pressed = {row.split()[3]: row.rpartition("id ")[2] for row in done.stderr.splitlines() if ", id " in row}
    said = [bytes(m.payload) for m in came]
    assert said.pop(6) == b'{"event"'
    ids = [json.loads(payload)["id"] for payload in said]
    order = [next((fault for fault, press in pressed.items() if press == each), "?") for each in ids]
    assert order == [
        *("none", "duplicate", "duplicate", "duplicate", "skew", "reorder"),
        *("retained", "retained", "?", "delay"),
    ], done.stderr
    assert [m.topic for m in came[:2]] == ["a", "a"], "topics are pressed in turn, the lost press too"
    assert "let in, as the broker asks for no password" in done.stderr
    assert json.loads(said[4])["at"] < json.loads(said[0])["at"]


def test_a_plan_on_a_campus_is_healed_when_it_is_stopped(tmp_path: Path) -> None:
    """At SIGTERM in the middle of its faults camera, centre and what is PUT are in good order, and it ends with 0."""
    plan = "0 600 camera-1 freeze -\n0 600 centre refuse -\n0 600 media cut 90\n"
    (tmp_path / "plan").write_text(plan, "utf-8")
    with Campus(tmp_path, cameras=1) as campus:
        camera = f"http://127.0.0.1:{campus.cameras[0]['onvif_port']}"
        line = {"cameras": campus.cameras, "centre": {"page": campus.page}}
        (tmp_path / "campus.json").write_text(json.dumps(line), "utf-8")
        process = subprocess.Popen(
            [*_COMMAND, "--replay", str(tmp_path / "plan"), "--campus", str(tmp_path / "campus.json")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(
                lambda: (
                    get_json(f"{camera}/_faults")["freeze"]
                    and campus.state()["faults"]["refuse"]
                    and campus.state()["put_faults"]["answer"] == "cut"
                ),
                within_s=20,
                what="all three faults",
            )
            process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            _, told = process.communicate(timeout=10)
            assert (process.returncode, time.monotonic() - began_s < 5) == (0, True), told
        finally:
            process.kill()
            process.wait()
        assert [row.split()[-1] for row in told.splitlines()].count("ended") == 3
        assert get_json(f"{camera}/_faults")["freeze"] is False
        assert campus.state()["faults"]["refuse"] is False
        assert campus.state()["put_faults"]["answer"] == "normal"


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["--seed", "1", "--minutes", "0"], "", "--minutes: found 0"),
        (["--only", "explode", "--print"], "", "--only: found 'explode', expected of bounce, cut"),
        (["--simulators", "camera", "--print"], "", "--simulators: found 'camera'"),
        (["--print", "--minutes", "0.01"], "", "nothing fits into this plan"),
        (["--seed", "1"], "", "button is in the plan: give its --broker and --topic, or only --print"),
        (["--broker", "mqtt://127.0.0.1:1"], "", "the button needs both --broker and --topic"),
        (["--camera", "127.0.0.1:8081"], "", "camera-1: found '127.0.0.1:8081', expected http://host:port"),
        (["--replay", "-"], "# nothing", "found no fault in it"),
        (["--replay", "-"], "1 2 centre explode -", "-: line 1: centre: fault: found 'explode'"),
        (["--replay", "-", "--with-parent"], "", "both want standard input"),
        (["--replay", "/nowhere/plan"], "", "No such file"),
        (["--camera", "http://127.0.0.1:1", "--seed", "1"], "", "http://127.0.0.1:1/_faults does not answer"),
        (
            ["--broker", "mqtt://127.0.0.1:1", "--topic", "t", "--seed", "1"],
            "",
            "127.0.0.1:1 cannot be reached",
        ),
    ],
)
def test_wrong_arguments(words: list[str], stdin: str, said: str) -> None:
    """What cannot be played ends with 2 before anything is begun, and says why."""
    done = command(*words, stdin=stdin)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "begun" not in done.stderr


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers every question with a JSON object, and takes nothing."""

    posted = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"faults": []}')

    def do_POST(self) -> None:
        Stranger.posted += 1
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_an_address_that_is_no_simulators_is_refused() -> None:
    """Whoever happens to listen there is asked once and told nothing."""
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stranger.server_port}"
        done = command("--camera", url, "--centre", url, "--seed", "1")
        stranger.shutdown()
    assert (done.returncode, Stranger.posted) == (2, 0)
    assert "_faults answers, but not as a simulator's control address (200)" in done.stderr


def test_a_fault_that_a_simulator_does_not_take_is_named_and_the_rest_is_played(tmp_path: Path) -> None:
    """One line fails with the simulator's own words, the next is played all the same, and the exit status is 1."""
    with Campus(tmp_path) as campus:
        plan = "0 0.1 centre duplicate 99\n0.3 0.2 centre reorder 0.5\n"
        done = command("--replay", "-", "--centre", campus.page, stdin=plan)
    assert done.returncode == 1
    assert "not done: centre: duplicate at 0 s:" in done.stderr
    assert "repeat_replies: expected 0 to 20" in done.stderr
    assert "reorder         ended" in done.stderr
