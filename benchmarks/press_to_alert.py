"""Press to ``alarm.raised``: the gateway beside a floor in the same run, plain, over TLS and over mutual TLS.

The floor is the least that could be called safe: the same broker, a subscriber's callback, one SQLite commit
(WAL, synchronous=FULL), one POST on a kept connection. Goals: median at most 2 times the floor, p99 at most 5 times, at 50
presses a second; a burst of 1,000 presses from 1,000 points all delivered, none twice, within 2 s.

Over TLS both the broker's connection and the centre's are encrypted (kept connections: what is paid for each press is the
records, not the handshake); over mutual TLS both sides have asked for the gateway's certificate as well. Buttons stay on the
plain listener.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import sqlite3
import statistics
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import rig

RATE = 50.0
PRESSES = 250
ROUNDS = 3
BURST = 1000


@dataclass(frozen=True, slots=True)
class Way:
    """How the gateway is joined to broker and centre: their ports, and what the site file says of certificates."""

    name: str
    broker_url: str
    centre_url: str
    files: str

    def site(self, points: int) -> str:
        text = rig.site_yaml(broker_port=0, centre_url=self.centre_url, points=points)
        text = text.replace(
            'mqtt: {url: "mqtt://127.0.0.1:0"', f'mqtt: {{url: "{self.broker_url}"{self.files}'
        )
        return text.replace("secret: {env: CENTRE_SECRET}", f"secret: {{env: CENTRE_SECRET}}{self.files}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default %(default)s")
    parser.add_argument("--presses", type=int, default=PRESSES, help="of a round (default %(default)s)")
    parser.add_argument("--burst", type=int, default=BURST, help="0: none (default %(default)s)")
    args = parser.parse_args(argv)
    with rig.folder() as folder:
        made = rig.certificates(folder)
        tls_port, mutual_port = rig.free_port(), rig.free_port()
        with rig.broker(folder, _listeners(made, tls_port, mutual_port)) as port:
            receiver = rig.Receiver(made)
            try:
                _run(args, folder, port, receiver, _ways(made, (port, tls_port, mutual_port), receiver))
            finally:
                receiver.close()


def _run(args: argparse.Namespace, folder: Path, port: int, receiver: rig.Receiver, ways: list[Way]) -> None:
    floor: list[float] = []
    steady: dict[str, list[float]] = {way.name: [] for way in ways}
    # In turn, since a shared machine is faster in one minute than in the next.
    for number in range(args.rounds):
        floor += (one := _floor(folder, port, receiver, args.presses))
        print(rig.line(f"round {number + 1}: floor at 50/s", one))
        for way in ways:
            steady[way.name] += (found := _at_rate(folder, port, receiver, way, args.presses))
            print(rig.line(f"round {number + 1}: gateway, {way.name}", found), flush=True)
    print(rig.line("all rounds: floor", floor))
    plain = steady[ways[0].name]
    for way in ways:
        ours = steady[way.name]
        print(rig.line(f"all rounds: gateway, {way.name}", ours))
        for name, part, goal in (("p50", 0.5, 2.0), ("p99", 0.99, 5.0)):
            to_floor = rig.percentile(ours, part) / rig.percentile(floor, part)
            to_plain = rig.percentile(ours, part) / rig.percentile(plain, part)
            print(
                f"  {name}: {to_floor:.2f} times the floor (goal: at most {goal:.0f}), {to_plain:.2f} times plain"
            )
    if args.burst:
        _burst(folder, port, receiver, ways[0], args.burst)


def _listeners(made: rig.Certificates, tls_port: int, mutual_port: int) -> str:
    lines = ["user root"] if os.geteuid() == 0 else []  # it would become a user who may not read the key
    for port, asks in ((tls_port, False), (mutual_port, True)):
        lines += [f"listener {port} 127.0.0.1", f"cafile {made.ca}"]
        lines += [f"certfile {made.cert('broker')}", f"keyfile {made.key('broker')}"]
        lines += ["require_certificate true"] if asks else []
    return "\n".join(lines) + "\n"


def _ways(made: rig.Certificates, brokers: tuple[int, int, int], receiver: rig.Receiver) -> list[Way]:
    ca = f', ca: "{made.ca}"'
    ours = f'{ca}, cert: "{made.cert("gateway")}", key: "{made.key("gateway")}"'
    return [
        Way(
            name,
            f"{'mqtts' if files else 'mqtt'}://127.0.0.1:{broker}",
            f"{'https' if files else 'http'}://127.0.0.1:{centre}/campus",
            files,
        )
        for name, broker, centre, files in zip(
            ("plain", "TLS", "mutual TLS"), brokers, receiver.ports, ("", ca, ours), strict=True
        )
    ]


def _presses(count: int, root: str = "b") -> list[tuple[str, bytes]]:
    at = int(time.time() * 1000)
    return [
        (f"{root}/p-{n}", json.dumps({"event": "pressed", "id": f"{at}-{n}"}).encode()) for n in range(count)
    ]


def _floor(folder: Path, port: int, receiver: rig.Receiver, presses: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_floor_process,
        args=(str(folder / f"floor-{time.monotonic_ns()}.db"), port, receiver.port, there),
    )
    process.start()
    here.recv()
    receiver.taken()
    # Topics of its own: the broker would keep the others for the gateway's session.
    sent = rig.publish(port, _presses(presses, "floor"), RATE)
    time.sleep(1.0)
    here.send("stop")
    process.join()
    return [at - sent[body.decode()] for at, body in receiver.taken()]


def _floor_process(database: str, port: int, receiver_port: int, pipe: Connection) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE press (topic TEXT, payload BLOB)")
    centre = http.client.HTTPConnection("127.0.0.1", receiver_port)
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id="floor", clean_session=False, protocol=paho.MQTTv311
    )
    subscribed = threading.Event()

    def on_message(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO press VALUES (?, ?)", (message.topic, message.payload))
        db.execute("COMMIT")
        centre.request("POST", "/campus", message.topic.encode())
        centre.getresponse().read()

    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("floor/#", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    subscribed.wait(10)
    pipe.send("ready")
    pipe.recv()
    client.unsubscribe("floor/#")
    client.disconnect()
    client.loop_stop()
    db.close()


def _raised(receiver: rig.Receiver) -> list[tuple[float, str]]:
    found = []
    for at, body in receiver.taken():
        document = json.loads(body)
        if document["type"] == "alarm.raised":
            found.append((at, document["data"]["point"]["id"]))
    return found


def _at_rate(folder: Path, port: int, receiver: rig.Receiver, way: Way, presses: int) -> list[float]:
    _forget(folder)
    with rig.RunningGateway(folder, way.site(presses)):
        time.sleep(2.0)  # until nothing but the presses keeps it busy
        receiver.taken()
        sent = rig.publish(port, _presses(presses), RATE)
        time.sleep(1.0)
        arrivals = _raised(receiver)
    if len(arrivals) != presses or len({p for _, p in arrivals}) != presses:
        raise SystemExit(f"{way.name}: {len(arrivals)} of {presses} presses arrived")
    return [at - sent[f"b/{point}"] for at, point in arrivals]


def _burst(folder: Path, port: int, receiver: rig.Receiver, way: Way, presses: int) -> None:
    _forget(folder)
    with rig.RunningGateway(folder, way.site(presses)):
        time.sleep(2.0)
        receiver.taken()
        sent = rig.publish(port, _presses(presses), None)
        first = min(sent.values())
        arrivals: list[tuple[float, str]] = []
        deadline = time.monotonic() + 20
        while len(arrivals) < presses and time.monotonic() < deadline:
            time.sleep(0.1)
            arrivals += _raised(receiver)
        time.sleep(1.0)
        arrivals += _raised(receiver)
    points = {p for _, p in arrivals}
    spread = max(at for at, _ in arrivals) - first
    print(
        f"burst of {presses}: {len(points)} delivered, {len(arrivals) - len(points)} twice, "
        f"the last after {spread:.2f} s (goal: 2 s), published within {max(sent.values()) - first:.2f} s, "
        f"median {statistics.median(at - sent[f'b/{p}'] for at, p in arrivals):.2f} s"
    )


def _forget(folder: Path) -> None:
    """A data folder of its own each time: every point is pressed for the first time."""
    shutil.rmtree(folder / "data", ignore_errors=True)


if __name__ == "__main__":
    main()
