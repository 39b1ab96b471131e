"""Press to ``alarm.raised`` while somebody attacks the gateway's HTTP: quiet and under attack in turn, in one process.

Goal: p50 and p99 at most 3 times the quiet ones under each attack. On a machine of few cores the attacker itself takes a
core from broker, gateway and centre, so each round also has the same attack on a server that is none of ours: its ratio is
what the machine alone does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks import rig
from tests.support.http_attacks import KINDS

RATE = 20.0
PRESSES = 60
GOAL = 3.0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presses", type=int, default=PRESSES, help="of a round (default %(default)s)")
    kinds = [kind for kind in KINDS if not kind.startswith("handshakes")]
    parser.add_argument(
        "kinds", nargs="*", default=kinds, help="which attacks (default: all but those on TLS)"
    )
    args = parser.parse_args(argv)
    points = args.presses
    with rig.folder() as folder, rig.broker(folder) as port:
        receiver = rig.Receiver()
        try:
            site = rig.site_yaml(broker_port=port, centre_url=receiver.url, points=points)
            with rig.RunningGateway(folder, site) as gateway:
                address = urlsplit(gateway.http).netloc
                round_(port, receiver, points, "warming up")
                for kind in args.kinds:
                    quiet = round_(port, receiver, points, f"quiet, before {kind}")
                    with attacking(kind, address):
                        time.sleep(1.0)
                        before_s = rig.cpu_s(gateway.process.pid)
                        began = time.monotonic()
                        found = round_(port, receiver, points, f"under {kind}")
                        busy = (rig.cpu_s(gateway.process.pid) - before_s) / (time.monotonic() - began)
                    ratios = [rig.percentile(found, p) / rig.percentile(quiet, p) for p in (0.5, 0.99)]
                    print(
                        f"  p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f} times the quiet one (goal: at most {GOAL:.0f}); "
                        f"gateway {busy:.0%} of a core"
                    )
        finally:
            receiver.close()


def round_(port: int, receiver: rig.Receiver, points: int, name: str) -> list[float]:
    """Seconds from press to alert; each press is awaited."""
    receiver.taken()
    at = time.monotonic_ns()
    presses = [
        (f"b/p-{n}", json.dumps({"event": "pressed", "id": f"{at}-{n}"}).encode()) for n in range(points)
    ]
    sent = rig.publish(port, presses, RATE)
    found: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while len(found) < points and time.monotonic() < deadline:
        time.sleep(0.2)
        for arrived, body in receiver.taken():
            message = json.loads(body)
            if message["type"] in ("alarm.raised", "alarm.repeated"):
                topic = "b/" + message["data"]["point"]["id"]
                found.setdefault(topic, arrived - sent[topic])
    if len(found) < points:
        raise SystemExit(f"{points - len(found)} of {points} presses did not arrive within 60 s: {name}")
    print(rig.line(name, list(found.values())), flush=True)
    return list(found.values())


@contextlib.contextmanager
def attacking(kind: str, address: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.http_attacks", kind, address, rig.TOKEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=rig.ROOT,
        env={**os.environ, "PYTHONPATH": str(rig.ROOT)},
    )
    with rig.ended(process):
        assert process.stdout is not None
        process.stdout.readline()
        yield
        out, _ = process.communicate(timeout=10)
        print(f"  it did: {out.decode().strip()}")


if __name__ == "__main__":
    main()
