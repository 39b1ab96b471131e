"""What every benchmark stands on: a real broker, a receiver, a publisher, the gateway as a process of its own, and ratios.

One file, though long, so that all of them measure with the same parts in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
TOKEN = secrets.token_urlsafe(24)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def ended(process: subprocess.Popen[Any], *, within_s: float = 6.0) -> Iterator[subprocess.Popen[Any]]:
    """End a process by its id, whatever happens."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What ``campus-gateway certs`` made: a CA, and a certificate for every end of the bench."""

    folder: Path

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"


def certificates(folder: Path) -> Certificates:
    """Make them with our own command."""
    made = Certificates(folder=folder / "tls")
    issue = ["issue", "--dir", str(made.folder), "--for"]
    for words in (
        ["init", "--dir", str(made.folder), "--site-name", "基准"],
        [*issue, "broker", "--host", "127.0.0.1"],
        [*issue, "centre", "--host", "127.0.0.1"],
        [*issue, "client", "gateway"],
    ):
        subprocess.run(
            [sys.executable, "-P", "-m", "gateway", "certs", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    return made


@contextmanager
def broker(folder: Path, more: str = "") -> Iterator[int]:
    """Real mosquitto with the shipped configuration's promises, on a port of its own; ``more`` stands at its end."""
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        raise SystemExit("benchmarks need mosquitto: apt-get install mosquitto")
    port = free_port()
    data = folder / "mosquitto"
    data.mkdir()
    data.chmod(0o777)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {data}/\n"
        f"max_queued_messages 0\nmax_inflight_messages 0\nlog_type none\n{more}"
    )
    with ended(subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)):
        wait_for_port(port)
        yield port


def wait_for_port(port: int, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


class Receiver:
    """A centre that does nothing but take the time: the same one for the floor and for the gateway."""

    def __init__(self, made: Certificates | None = None) -> None:
        """With certificates it listens at two more ports: over TLS, and over TLS that asks for a certificate."""
        self._here, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_receive, args=(there, made))
        self._process.start()
        self.ports: list[int] = self._here.recv()
        self.port = self.ports[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/campus"

    def taken(self) -> list[tuple[float, bytes]]:
        """All bodies so far with their arrival (time.time()), and forget them."""
        self._here.send("taken")
        found: list[tuple[float, bytes]] = self._here.recv()
        return found

    def close(self) -> None:
        self._here.send("stop")
        self._process.join()


def _receive(pipe: Connection, made: Certificates | None) -> None:
    asyncio.run(_receiver(pipe, made))


async def _receiver(pipe: Connection, made: Certificates | None) -> None:
    arrived: list[tuple[float, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                arrived.append((time.time(), body))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    contexts: list[ssl.SSLContext | None] = [None]
    if made is not None:
        for asks in (False, True):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
            context.load_cert_chain(made.cert("centre"), made.key("centre"))
            context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
            contexts.append(context)
    servers = [await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048, ssl=c) for c in contexts]
    pipe.send([server.sockets[0].getsockname()[1] for server in servers])
    while True:
        command = await asyncio.to_thread(pipe.recv)
        if command == "stop":
            return
        taken, arrived[:] = list(arrived), []
        pipe.send(taken)


def publish(port: int, messages: Sequence[tuple[str, bytes]], per_second: float | None) -> dict[str, float]:
    """Publish at QoS 1 from a process of its own; topic -> time.time() just before. ``None``: as fast as it goes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_publish, (port, list(messages), per_second))


def _publish(port: int, messages: list[tuple[str, bytes]], per_second: float | None) -> dict[str, float]:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.max_inflight_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent: dict[str, float] = {}
    last = None
    began = time.perf_counter()
    for number, (topic, payload) in enumerate(messages):
        if per_second is not None:
            time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
        sent[topic] = time.time()
        last = client.publish(topic, payload, qos=1)
    if last is not None:
        last.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    return sent


def site_yaml(
    *,
    broker_port: int,
    centre_url: str,
    points: int,
    cameras: Sequence[Mapping[str, Any]] = (),
    window: int = 5,
) -> str:
    """A site with so many points, all cameras mapped to each."""
    ids = [str(c["id"]) for c in cameras]
    lines = [
        "site: {id: bench, name: 基准, address: 长安路, location: {lat: 46.8, lon: 130.4}}",
        "zones:",
        "  - {id: z, name: 教室, kind: classroom}",
        "  - {id: y, name: 走廊, kind: corridor}",
        "cameras:" if ids else "cameras: []",
    ]
    for c in cameras:
        lines.append(
            f"  - {{id: {c['id']}, name: 摄像机, zone: y, "
            f'stream: {{url: "{c["url"]}", username: {c["username"]}, password: {{env: CAM_PASSWORD}}}}}}'
        )
    lines.append("points:")
    lines += [
        f"  - {{id: p-{n}, name: 触点, zone: z, mqtt: {{topic: b/p-{n}, format: gateway}}, cameras: {ids}}}"
        for n in range(points)
    ]
    lines += [
        "centre:",
        "  id: c",
        "  name: 中心",
        f'  webhook: {{url: "{centre_url}", secret: {{env: CENTRE_SECRET}}}}',
        "  media: link",
        f'mqtt: {{url: "mqtt://127.0.0.1:{broker_port}"}}',
        'storage: {objects: "file:objects", database: "sqlite:gateway.db", reserve_gb: 0}',
        f"evidence: {{before_s: {window}, after_s: {window}}}",
        'http: {listen: "127.0.0.1:0"}',
        "access:",
        "  - {name: bench, unit: bench, role: technician, token: {env: BENCH_TOKEN}}",
    ]
    return "\n".join(lines) + "\n"


class RunningGateway:
    """A gateway process, as a user starts it. ``armed_s`` is from its start until /readyz said 200."""

    def __init__(
        self, folder: Path, site: str, environ: Mapping[str, str] | None = None, module: str = "gateway"
    ) -> None:
        self.folder = folder
        self._module = module
        self.config = folder / "site.yaml"
        self.config.write_text(site, encoding="utf-8")
        self._environ = {
            **os.environ,
            "CENTRE_SECRET": SECRET,
            "BENCH_TOKEN": TOKEN,
            "CAM_PASSWORD": "camera-password",
            **(environ or {}),
        }
        self.armed_s = 0.0
        self.http = ""

    def __enter__(self) -> RunningGateway:
        self.start()
        return self

    def start(self) -> None:
        began = time.monotonic()
        self._log = (self.folder / "gateway.log").open("a")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                self._module,
                "run",
                "--config",
                str(self.config),
                "--log-level",
                "warning",
            ],
            cwd=ROOT,
            env={**self._environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit((self.folder / "gateway.log").read_text()[-3000:])
        self.http = json.loads(line)["http"]
        while True:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{self.http}/readyz", timeout=2).status == 200:
                    break
            time.sleep(0.005)
        self.armed_s = time.monotonic() - began

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.http + path, headers={"Authorization": f"Bearer {TOKEN}"})
        return json.load(urllib.request.urlopen(request, timeout=10))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder on the disk that holds the clone: a bench in memory would measure another machine."""
    place = Path(tempfile.mkdtemp(prefix=".bench-", dir=ROOT))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def line(name: str, values_s: Sequence[float]) -> str:
    return (
        f"{name:<34} n={len(values_s):<5} p50 {statistics.median(values_s) * 1e3:7.2f} ms   "
        f"p95 {percentile(values_s, 0.95) * 1e3:7.2f} ms   p99 {percentile(values_s, 0.99) * 1e3:7.2f} ms   "
        f"max {max(values_s) * 1e3:7.2f} ms"
    )


CAMERA_PASSWORD = "camera-password"


@contextmanager
def cameras(count: int) -> Iterator[list[dict[str, Any]]]:
    """So many simulated cameras, 1080p25 H.264 at 4 Mbit/s with one key frame a second, in a process of their own."""
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "simulators",
                "camera",
                "--source",
                "encoded",
                "--count",
                str(count),
            ),
            *("--rtsp-port", "0", "--http-port", "0", "--password", CAMERA_PASSWORD),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(count)]
        yield [{"id": c["name"], "url": c["rtsp_url"], "username": c["username"]} for c in lines]
        process.stdout.close()


def wait_for_rings(gateway: RunningGateway, count: int, seconds: float, within_s: float = 90.0) -> None:
    """Until every camera's ring covers so many seconds."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        health = [c["health"] for c in gateway.get("/api/v1/cameras")["cameras"]]
        if len([h for h in health if h["healthy"] and h["ring_s"] >= seconds]) == count:
            return
        time.sleep(0.25)
    raise SystemExit(
        f"the rings are not full after {within_s:.0f} s: {[(h['ring_s'], h['cause']) for h in health]}"
    )


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid:
                    found += family(int(entry.name))
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages counted once among their users."""
    for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if row.startswith("Pss:"):
            return int(row.split()[1]) * 1024
    raise SystemExit("this kernel tells no PSS")
