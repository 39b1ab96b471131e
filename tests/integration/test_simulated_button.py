"""The simulated button against a real mosquitto, seen by a subscriber that is not ours."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.button import ButtonError, ButtonFault, SimulatedButton
from tests.support.mosquitto import running_mosquitto

_WITHIN_S = 10.0


class Subscriber:
    """Everything published on the broker, in its order."""

    def __init__(self, broker: str) -> None:
        self._messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        subscribed: queue.Queue[bool] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _userdata, message: self._messages.put(message)
        self._client.on_subscribe = lambda *_: subscribed.put(True)
        self._client.connect("127.0.0.1", int(broker.rpartition(":")[2]))
        self._client.loop_start()
        self._client.subscribe("#", qos=2)
        subscribed.get(timeout=_WITHIN_S)

    def take(self, count: int) -> list[mqtt.MQTTMessage]:
        return [self._messages.get(timeout=_WITHIN_S) for _ in range(count)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with running_mosquitto(tmp_path) as url:
        yield url


@pytest.fixture
def heard(broker: str) -> Iterator[Subscriber]:
    subscriber = Subscriber(broker)
    yield subscriber
    subscriber.close()


def command(
    broker: str, *words: str, env: dict[str, str] | None = None
) -> tuple[int, list[dict[str, Any]], str]:
    """Run `campus-simulators button` and read its lines."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "simulators", "button", "--broker", broker, *words],
        capture_output=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_press_is_acknowledged(broker: str, heard: Subscriber) -> None:
    """A press arrives once at QoS 1, not retained, and the PUBACK's time follows the publication's."""
    before_s = time.time()
    with SimulatedButton(broker) as button:
        first, second = button.press("campus/p-1"), button.press("campus/p-1")
    assert first.acknowledged_s is not None
    assert before_s <= first.published_s <= first.acknowledged_s <= time.time()
    messages = heard.take(2)
    assert [(m.topic, m.qos, m.retain) for m in messages] == [("campus/p-1", 1, False)] * 2
    ids = [json.loads(m.payload)["id"] for m in messages]
    assert [first.payload, second.payload] == [m.payload for m in messages]
    assert ids[0] != ids[1]


def test_command_prints_one_line_per_publication(broker: str, heard: Subscriber) -> None:
    """Repeats have their own ids, bounce repeats the very same payload, and each line says when it was taken."""
    status, lines, _ = command(
        broker, "--topic", "campus/p-1", "--repeat", "2", "--every-s", "0", "--bounce", "2"
    )
    assert status == 0
    payloads = [m.payload for m in heard.take(6)]
    assert len(set(payloads)) == 2
    assert payloads[0] == payloads[1] == payloads[2]
    assert [line["n"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= line["puback_ms"] < 10_000 for line in lines)


def test_storm(broker: str, heard: Subscriber) -> None:
    """A storm presses every numbered button once, on one connection and without waiting in between."""
    status, lines, _ = command(broker, "--topic", "campus/p-{n}", "--storm", "1000")
    assert status == 0
    assert {m.topic for m in heard.take(1000)} == {f"campus/p-{n}" for n in range(1, 1001)}
    assert lines[-1]["published_s"] < max(line["acknowledged_s"] for line in lines)


def test_acknowledgement_that_overtakes(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PUBACK that is handled before `publish` has returned belongs to its press all the same."""
    with SimulatedButton(broker) as button:
        publish = button._client.publish

        def slow_publish(*args: Any, **named: Any) -> mqtt.MQTTMessageInfo:
            info = publish(*args, **named)
            info.wait_for_publish(_WITHIN_S)
            return info

        monkeypatch.setattr(button._client, "publish", slow_publish)
        press = button.press("t", timeout_s=2)
        assert press.acknowledged_s is not None
        assert press.published_s <= press.acknowledged_s <= time.time()


def test_options_reach_the_wire(broker: str, heard: Subscriber) -> None:
    """Format, event, id, time, battery, QoS, retain and raw bytes are published as they were asked for."""
    asked = {"--id": "7", "--at": "2026-03-02T10:15:07+08:00", "--battery": "5"}
    words = [word for pair in asked.items() for word in pair]
    for more in (
        ["--event", "tamper", *words],
        ["--no-id", "--qos", "0"],
        ["--format", "zigbee2mqtt", "--contact", "false", "--retain"],
        ["--raw", '{"event": "pres'],
        ["--raw-size", "100000"],
    ):
        status, lines, error = command(broker, "--topic", "t", *more)
        assert status == 0, error
        assert (lines[0]["puback_ms"] is None) is ("--qos" in more)
    tamper, plain, contact, broken, junk = (m.payload for m in heard.take(5))
    assert json.loads(tamper) == {
        "event": "tamper",
        "id": "7",
        "at": "2026-03-02T10:15:07.000+08:00",
        "battery": 5,
    }
    assert json.loads(plain) == {"event": "pressed"}
    assert json.loads(contact)["contact"] is False
    assert broken == b'{"event": "pres'
    assert len(junk) == 100_000
    late = Subscriber(broker)
    kept = late.take(1)[0]
    late.close()
    assert (kept.retain, kept.payload) == (True, contact)


def test_login(tmp_path: Path) -> None:
    """A wrong password is told at once and once; the right one comes from the environment."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    maker = "/usr/bin/mosquitto_passwd"
    if not Path(maker).exists():
        if os.environ.get("CAMPUS_TEST_STRICT") == "1":
            pytest.fail(f"{maker} is missing (Debian: mosquitto), and CAMPUS_TEST_STRICT=1 asks for it")
        pytest.skip(f"{maker} is missing (Debian: mosquitto)")
    subprocess.run([maker, "-b", str(passwords), "button", "right"], check=True, timeout=30)
    config = f"allow_anonymous false\npassword_file {passwords}\nuser root\n"
    with running_mosquitto(tmp_path, config=config) as broker:
        words = ["--topic", "t", "--username", "button"]
        status, lines, error = command(broker, *words, env={"MQTT_PASSWORD": "wrong"})
        assert (status, lines) == (1, [])
        assert "does not let the button in: Not authorized" in error
        assert command(broker, *words, env={"MQTT_PASSWORD": "right"})[0] == 0


def test_no_broker() -> None:
    """Without a broker entering fails at once, with its address."""
    with (
        pytest.raises(ButtonError, match=r"127\.0\.0\.1:1 cannot be reached"),
        SimulatedButton("mqtt://127.0.0.1:1"),
    ):
        pass


def test_broker_that_does_not_acknowledge() -> None:
    """A broker that lets the button in and then says nothing makes the press an error, not a silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def let_in_and_listen() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted, no session
                while connection.recv(1024):
                    pass

        broker = threading.Thread(target=let_in_and_listen)
        broker.start()
        try:
            with SimulatedButton(f"mqtt://127.0.0.1:{listener.getsockname()[1]}") as button:
                with pytest.raises(ButtonError, match="did not acknowledge within"):
                    button.press("t", timeout_s=0.2)
                assert button.press("t", qos=0).acknowledged_s is None
        finally:
            broker.join(_WITHIN_S)
        assert not broker.is_alive()


def test_press_while_the_broker_is_away(tmp_path: Path) -> None:
    """A press made while the broker is away is delivered when it is back, once."""
    with running_mosquitto(tmp_path) as first:
        button = SimulatedButton(first)
        button.__enter__()
    try:
        pending = button.publish("t", b"pressed")
        with pytest.raises(ButtonError, match="not published"):
            button.publish("t", b"lost", qos=0)
        with running_mosquitto(tmp_path, port=int(first.rpartition(":")[2])) as second:
            heard = Subscriber(second)
            try:
                assert pending.wait(_WITHIN_S).payload == b"pressed"
                assert heard.take(1)[0].payload == b"pressed"
            finally:
                heard.close()
    finally:
        button.__exit__()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topic", "t", "--storm", "3"], "{n}"),
        (["--topic", "t", "--format", "zigbee2mqtt", "--event", "released"], "--contact"),
        (["--topic", "t", "--at", "2026-03-02T10:15:07"], "offset"),
        (["--topic", "t", "--repeat", "0"], "1 or more"),
        (["--topic", "t", "--kind", "switch", "--held-s", "1"], "--kind, --held-s: only of a whole device"),
        (
            ["--topic", "t", "--device", "--event", "test", "--bounce", "2"],
            "--event, --bounce: of single payloads",
        ),
        (["--topic", "t/input_event/0", "--format", "shelly-gen1", "--input", "1"], "the topic says which"),
        (["--topic", "t", "--format", "shelly-gen1"], "shellies/<id>/input_event/0"),
        (["--topic", "t", "--format", "shelly-gen2"], "<id>/events/rpc"),
        (["--topic", "tele/t/SENSOR", "--format", "tasmota"], "--kind switch"),
        (["--topic", "t", "--fault", "late"], "retained-copy"),
        ([], "--topic"),
    ],
)
def test_wrong_arguments(words: list[str], said: str) -> None:
    """Arguments that make no sense end with 2 and say which, before anything is published."""
    status, lines, error = command("mqtt://127.0.0.1:1", *words)
    assert (status, lines) == (2, [])
    assert said in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["zigbee2mqtt/sos"],
            [("zigbee2mqtt/sos/availability", "online"), ("zigbee2mqtt/sos", '"action": "single"')],
        ),
        (
            ["stat/t/RESULT", "--format", "tasmota", "--gesture", "long", "--input", "2"],
            [
                ("tele/t/LWT", "Online"),
                ("stat/t/RESULT", '{"Button2": {"Action": "HOLD"}}'),
                ("stat/t/RESULT", '{"Button2": {"Action": "CLEAR"}}'),
            ],
        ),
        (
            ["tele/t/SENSOR", "--format", "tasmota", "--kind", "switch", "--normally-closed"],
            [
                ("tele/t/LWT", "Online"),
                ("tele/t/SENSOR", '"Switch1": "OFF"'),
                ("tele/t/SENSOR", '"Switch1": "ON"'),
            ],
        ),
        (
            ["shellies/s/input_event/0", "--format", "shelly-gen1"],
            [
                ("shellies/s/online", "true"),
                ("shellies/s/input/0", "1"),
                ("shellies/s/input/0", "0"),
                ("shellies/s/longpush/0", "0"),
                ("shellies/s/input_event/0", '{"event": "S", "event_cnt": 1}'),
            ],
        ),
        (
            ["s/events/rpc", "--format", "shelly-gen2", "--input", "1", "--fault", "duplicate=1"],
            [
                ("s/online", "true"),
                ("s/events/rpc", '"component": "input:1", "id": 1, "event": "btn_down"'),
                ("s/events/rpc", '"component": "input:1", "id": 1, "event": "btn_down"'),
                ("s/events/rpc", '"event": "btn_up"'),
                ("s/events/rpc", '"event": "single_push"'),
            ],
        ),
    ],
)
def test_a_whole_device(
    broker: str, heard: Subscriber, words: list[str], said: list[tuple[str, str]]
) -> None:
    """A device greets, then says on all its topics what its maker documents of one push; faults are of the push alone.
    At the end it is gone without a word, and the broker says so and keeps it."""
    make = [] if "--format" in words else ["--format", "zigbee2mqtt"]
    status, _, error = command(broker, "--device", "--held-s", "0.1", "--die", "--topic", *words, *make)
    assert (status, error) == (0, "")
    messages = [(m.topic, m.payload.decode()) for m in heard.take(len(said) + 1)]
    assert [topic for topic, _ in messages[:-1]] == [topic for topic, _ in said]
    for (_, payload), (_, part) in zip(messages[:-1], said, strict=True):
        assert part in payload
    assert messages[-1][0] == said[0][0]
    assert any(word in messages[-1][1] for word in ("offline", "Offline", "false"))
    late = Subscriber(broker)
    kept = late.take(1)[0]
    late.close()
    assert (kept.topic, kept.payload.decode(), kept.retain) == (*messages[-1], True)


@pytest.mark.parametrize(
    "words",
    ["none", "drop", "delay=0.5", "reorder,retained-copy", "cut=3", "duplicate=2,bounce=4", "delay=1,cut=0"],
)
def test_a_fault_is_read_as_it_is_written_down(words: str) -> None:
    """What is printed beside a publication can be given to the next run."""
    fault = ButtonFault.read(words)
    assert ButtonFault.read(str(fault)) == fault
    assert set(str(fault).split(",")) == set(words.split(","))


@pytest.mark.parametrize("words", ["", "late", "drop=1", "delay", "delay=x", "cut=-1"])
def test_a_fault_nobody_knows_is_refused_with_what_there_is(words: str) -> None:
    """By name and by number."""
    with pytest.raises(ValueError, match=r"drop|convert|literal|negative"):
        ButtonFault.read(words)


def test_faults_happen_to_one_publication_after_the_other(broker: str, heard: Subscriber) -> None:
    """Lost, cut, twice, overtaken by the next; then good order."""
    faults = [ButtonFault.read(words) for words in ("drop", "cut=2", "duplicate=1", "reorder")]
    with SimulatedButton(broker, faults=faults) as button:
        sent = [button.publish("t", body) for body in (b"lost", b"cut off", b"twice", b"behind", b"ahead")]
        assert [each.wait().acknowledged_s is None for each in sent] == [True, False, False, False, False]
    assert [m.payload for m in heard.take(5)] == [b"cu", b"twice", b"twice", b"ahead", b"behind"]
