"""Real processes for journeys and faults: a gateway, its campus of simulators, a broker; each ended by its own id.

One file, though long: each process here is started, asked and ended in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_WITHIN_S = 40.0  # on a busy machine; a gateway alone is armed in about a second
FAULT_GONE_S = 30.0  # a fault of before a restart stays until everything has been looked at again
ARMED = '"event": "mqtt.armed"'
CENTRE_SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
DRILL_SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
ANSWER_SECRET = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
CENTRE_TOKEN = secrets.token_urlsafe(24)
MEDIA_TOKEN = secrets.token_urlsafe(24)
TECHNICIAN_TOKEN = secrets.token_urlsafe(24)
CAM_PASSWORD = "camera-password"
SECRETS = {
    "CENTRE_SECRET": CENTRE_SECRET,
    "CENTRE_DRILL_SECRET": DRILL_SECRET,
    "CENTRE_ANSWER_SECRET": ANSWER_SECRET,
    "CENTRE_TOKEN": CENTRE_TOKEN,
    "CENTRE_MEDIA_TOKEN": MEDIA_TOKEN,
    "TECHNICIAN_TOKEN": TECHNICIAN_TOKEN,
    "CAM_PASSWORD": CAM_PASSWORD,
}

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

T = TypeVar("T")


def topic(point: int, site: str = "journey") -> str:
    """Where a point of :func:`site_yaml` is heard."""
    return f"campus/{site}/p-{point}"


def missing(what: str) -> None:
    """Skip because ``what`` is not there, or fail where CAMPUS_TEST_STRICT=1 asks for everything."""
    if os.environ.get("CAMPUS_TEST_STRICT") == "1":
        pytest.fail(f"{what}, and CAMPUS_TEST_STRICT=1 asks for it")
    pytest.skip(what)


def tool(name: str, package: str) -> str:
    """The path of an outside program; skips (or fails, strictly) where it is not installed."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        missing(f"{name} is not installed (Debian: {package})")
    assert found is not None
    return found


def wait_for(ask: Callable[[], T], *, within_s: float, what: str) -> T:
    """The first true answer; AssertionError with the last answer after the deadline."""
    deadline_s = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s: {what} (last: {answer!r:.400})"
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    """Ids of the processes started by ``pid``, whichever of its threads did it."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def memory_mb(pid: int) -> float:
    """What the process holds for itself now (resident set), in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"process {pid} tells no VmRSS")


def get_json(url: str, token: str | None = None, tls: ssl.SSLContext | None = None) -> Any:
    """GET; raises ``urllib.error.URLError``."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10, context=tls) as answer:
        return json.load(answer)


def post_json(url: str, body: object) -> Any:
    """POST a JSON document; raises ``urllib.error.URLError``."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Child:
    """A process of ours with its standard output read line by line and its errors in a file."""

    def __init__(
        self, words: Sequence[str], *, log: Path, environ: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                list(words),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
                env={**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), **(environ or {})},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def first_line(self) -> dict[str, Any]:
        """The JSON line a command prints when it is ready; AssertionError with its log if it does not."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_WITHIN_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.kill()
            raise AssertionError(f"did not start: {self.said()[-3000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def said(self) -> str:
        """Its standard error so far."""
        return self.log.read_text("utf-8", "replace")

    def terminate(self, within_s: float = 10.0) -> tuple[int, float]:
        """SIGTERM; exit code and seconds it took. AssertionError (and SIGKILL) if it stays."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still there {within_s} s after SIGTERM: {self.said()[-2000:]}") from None
        took_s = time.monotonic() - began_s
        self._close()
        return code, took_s

    def kill(self) -> None:
        """SIGKILL; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(OSError):
                    pipe.close()


class Broker:
    """mosquitto with the shipped configuration, on a port that stays over its restarts. Of what it says about who may connect
    only one listener is left, open to everybody: that part has tests of its own (test_mosquitto_conf.py)."""

    def __init__(self, folder: Path) -> None:
        self._binary = tool("mosquitto", "mosquitto")
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        data = folder / "mosquitto-data"
        data.mkdir()
        self.saved = data / "mosquitto.db"
        text = (ROOT / "drivers/contacts/mosquitto.conf").read_text("utf-8")
        text, _, _ = text.partition("per_listener_settings true")
        text += f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        text = text.replace("persistence_location /var/lib/mosquitto/", f"persistence_location {data}/")
        assert f"listener {self.port} " in text
        assert f"{data}/" in text
        if os.geteuid() == 0:
            text += "user root\n"  # it would become a user of its own, who may not write here
        self._config = folder / "mosquitto.conf"
        self._config.write_text(text, "utf-8")
        self._log = folder / "mosquitto.log"
        self.child: Child | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self.child.terminate()

    def start(self) -> None:
        """Start it, with what it has kept."""
        self.child = Child([self._binary, "-c", str(self._config)], log=self._log)
        wait_for(self._listens, within_s=10, what=f"mosquitto listens on {self.port}")

    def kill(self) -> None:
        """kill -9."""
        assert self.child is not None
        self.child.kill()
        self.child = None

    def keeps(self, payload: bytes) -> bool:
        """Whether the payload is in what it has saved: it acknowledges first and saves next."""
        return self.saved.exists() and payload in self.saved.read_bytes()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        assert self.child is not None
        assert self.child.process.poll() is None, self._log.read_text("utf-8", "replace")
        return False


@contextlib.contextmanager
def any_broker(folder: Path) -> Iterator[str]:
    """Where a broker is: mosquitto where it is installed, else the embedded one's library in a process of its own.

    For tests in which the broker is only the way of a press, and does not have to survive anything.
    """
    strict = os.environ.get("CAMPUS_TEST_STRICT") == "1"
    if strict or shutil.which("mosquitto", path=_PATH) is not None:
        with Broker(folder) as broker:
            yield broker.url
        return
    port = free_port()
    child = Child([sys.executable, "-m", "tests.support.amqtt_process", str(port)], log=folder / "amqtt.log")
    try:
        child.first_line()
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        child.terminate()


class Campus:
    """A 110 centre, and cameras, in a process of their own; driven and read over their control interfaces."""

    def __init__(self, folder: Path, *words: str, cameras: int = 0) -> None:
        self._words = words
        self._count = cameras
        self._log = folder / "campus.log"
        self.cameras: list[dict[str, Any]] = []
        self.centre_url = ""
        self.media_url = ""
        self.backup_url = ""
        self._page = ""

    def __enter__(self) -> Campus:
        self.child = Child(
            [
                *(sys.executable, "-m", "simulators", "campus", "--with-parent", "--quiet"),
                *("--cameras", str(self._count)),
                *("--port", "0", "--page-port", "0", "--onvif-port", "0", "--rtsp-port", "0"),
                *self._words,
            ],
            log=self._log,
        )
        line = self.child.first_line()
        self.cameras = line["cameras"]
        self.centre_url = line["centre"]["url"]
        self.media_url = line["centre"]["media_url"]
        self.backup_url = line["centre"]["backup_url"]
        self._page = line["centre"]["page"].rstrip("/")
        return self

    @property
    def page(self) -> str:
        """The operator's page."""
        return self._page

    def __exit__(self, *_: object) -> None:
        self.child.terminate()

    def state(self) -> dict[str, Any]:
        """All the centre knows."""
        found: dict[str, Any] = get_json(f"{self._page}/control/state")
        return found

    def alarms(self) -> list[dict[str, Any]]:
        """What the centre knows of each alarm, newest first."""
        found: list[dict[str, Any]] = self.state()["alarms"]
        return found

    def events(self) -> list[dict[str, Any]]:
        """The centre's journal from its beginning."""
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["n"] if events else 0
            more = get_json(f"{self._page}/control/events?after={after}")["events"]
            if not more:
                return events
            events += more

    def faults(self) -> list[dict[str, Any]]:
        """Every fault that was told, cleared ones included."""
        told = [e["about"] for e in self.events() if e["what"] == "received"]
        return [about["data"]["fault"] for about in told if about["type"] == "fault.raised"]

    def misbehave(self, **faults: object) -> None:
        """Change how the centre answers."""
        post_json(f"{self._page}/control/faults", faults)

    def misbehave_to_puts(self, **faults: object) -> None:
        """Change how the centre treats what is PUT."""
        post_json(f"{self._page}/control/put-faults", faults)

    def reply(self, alarm: str, word: str) -> dict[str, Any]:
        """The operator's reply to the school."""
        body = {
            "alarm": alarm,
            "reply": word,
            "operator": {"name": "王警官", "unit": "110"},
            "reason": "journey",
        }
        found: dict[str, Any] = post_json(f"{self._page}/control/reply", body)
        return found

    def request(self, alarm: str, **asked: object) -> dict[str, Any]:
        """The operator's request to the school."""
        body = {"alarm": alarm, "operator": {"name": "王警官", "unit": "110"}, "reason": "journey", **asked}
        try:
            found: dict[str, Any] = post_json(f"{self._page}/control/request", body)
        except urllib.error.HTTPError as error:
            if error.code != 502:  # else the school refused it, and what it said is in the answer
                raise
            found = json.load(error)
        return found

    def camera_fault(self, number: int, **faults: object) -> None:
        """Put a camera's faults in place of its present ones."""
        post_json(f"http://127.0.0.1:{self.cameras[number]['onvif_port']}/_faults", faults)

    def camera_status(self, number: int) -> dict[str, Any]:
        """Connections, sessions and refused log-ins of a camera."""
        found: dict[str, Any] = get_json(f"http://127.0.0.1:{self.cameras[number]['onvif_port']}/_status")
        return found


@contextlib.contextmanager
def cameras(folder: Path, name: str, count: int, *words: str) -> Iterator[list[dict[str, Any]]]:
    """So many simulated cameras in one process of their own, as :func:`site_yaml` wants them."""
    child = Child(
        [
            *(sys.executable, "-m", "simulators", "camera", "--with-parent", "--name", name),
            *("--count", str(count), "--rtsp-port", "0", "--http-port", "0", "--password", CAM_PASSWORD),
            *words,
        ],
        log=folder / f"{name}.log",
    )
    try:
        # One line for each: read unbuffered, since select does not see what a buffer holds.
        found = [child.first_line()]
        assert child.process.stdout is not None
        found += [json.loads(child.process.stdout.readline()) for _ in range(count - 1)]
        yield [{**camera, "id": camera["name"], "onvif_port": camera["http_port"]} for camera in found]
    finally:
        child.terminate()


class Gateway:
    """``campus-gateway run`` as a user starts it: one data folder over any number of starts."""

    def __init__(
        self, folder: Path, site: str, *, environ: Mapping[str, str] | None = None, data: Path | None = None
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.config = folder / "site.yaml"
        self.config.write_text(site, encoding="utf-8")
        self.log = folder / "gateway.log"
        self.environ = dict(environ or {})
        self.tls: ssl.SSLContext | None = None  # how its https is called
        self.http = ""
        self.broker = ""
        self.child: Child | None = None

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            cameras = children(self.pid)
            self.child.kill() if self.child.process.poll() is not None else self.child.terminate()
            self.child = None
            assert not [pid for pid in cameras if alive(pid)], "the gateway left a camera process behind"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def start(self, *, armed_by_log: bool = False) -> float:
        """Start it and return once a press would be committed; seconds from start to then.

        ``armed_by_log`` goes by what it logs and does not wait for the HTTP face, which opens later.
        """
        said = self.log.read_text("utf-8").count(ARMED) if self.log.exists() else 0
        began_s = time.monotonic()
        self.child = Child(
            [*self.command("run"), "--log-level", "info"],
            log=self.log,
            environ=self.environ,
            cwd=self.folder,
        )
        line = self.child.first_line()
        self.http, self.broker = line["http"], line["broker"]
        if armed_by_log:
            wait_for(
                lambda: self.log.read_text("utf-8", "replace").count(ARMED) > said,
                within_s=START_WITHIN_S,
                what="mqtt.armed in its log",
            )
        else:
            wait_for(self.ready, within_s=START_WITHIN_S, what="/readyz answers 200")
        return time.monotonic() - began_s

    def command(self, *words: str) -> list[str]:
        """A command of the gateway on this site and data."""
        return [
            *(sys.executable, "-P", "-m", "gateway", *words),
            *("--config", str(self.config), "--data-dir", str(self.data)),
        ]

    def ready(self) -> bool:
        """Whether it says that a press would be committed."""
        try:
            get_json(f"{self.http}/readyz", tls=self.tls)
        except (urllib.error.URLError, OSError):
            assert self.child is not None
            assert self.child.process.poll() is None, self.child.said()[-3000:]
            return False
        return True

    def get(self, path: str) -> Any:
        """GET as the technician."""
        return get_json(self.http + path, TECHNICIAN_TOKEN, self.tls)

    def faults(self) -> dict[tuple[str, str], str]:
        """Open faults: (kind, subject) to cause."""
        return {(f["kind"], f["subject"]): f["cause"] for f in self.get("/api/v1/faults")["faults"]}

    def healthy_cameras(self) -> list[str]:
        """Ids of the cameras whose frames arrive."""
        return [c["id"] for c in self.get("/api/v1/cameras")["cameras"] if c["health"]["healthy"]]

    def rings_hold(self, seconds: float) -> bool:
        """Whether every camera's ring covers so much."""
        cameras = self.get("/api/v1/cameras")["cameras"]
        return all(c["health"]["healthy"] and c["health"]["ring_s"] >= seconds for c in cameras)

    def undelivered(self) -> int:
        """How many messages the centre has not received, by its metrics."""
        request = urllib.request.Request(f"{self.http}/metrics")
        request.add_header("Authorization", f"Bearer {TECHNICIAN_TOKEN}")
        with urllib.request.urlopen(request, timeout=10, context=self.tls) as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("campus_undelivered"))))

    def alarms(self) -> list[dict[str, Any]]:
        """Its alarms, newest first, as they stand in the list."""
        found: list[dict[str, Any]] = self.get("/api/v1/alarms?limit=500")["alarms"]
        return found

    def kill(self) -> None:
        """kill -9."""
        assert self.child is not None
        self.child.kill()
        self.child = None

    def stop(self) -> tuple[int, float]:
        """SIGTERM; exit code and seconds."""
        assert self.child is not None
        ended = self.child.terminate()
        self.child = None
        return ended


def site_yaml(
    *,
    broker: str,
    centre: str,
    points: int = 1,
    cameras: Sequence[Mapping[str, Any]] = (),
    before_s: int = 5,
    after_s: int = 5,
    extra: str = "",
    listen: str = "127.0.0.1:0",
    reserve_gb: float = 0,
    site: str = "journey",
    webhook: str = "",
    public_url: str | None = None,
) -> str:
    """A site with every camera mapped to every point; ``extra`` is put below ``centre.webhook``, ``webhook`` into it."""
    ids = [str(c["id"]) for c in cameras]
    lines = [
        f"site: {{id: {site}, name: 第三中学, address: 长安路 86 号, location: {{lat: 46.8, lon: 130.4}}}}",
        "zones:",
        "  - {id: b1-301, name: 301 教室, kind: classroom, building: 一号楼, floor: 3}",
        "  - {id: b1-f3, name: 三层走廊, kind: corridor}",
        "cameras:" if ids else "cameras: []",
    ]
    for camera in cameras:
        lines.append(
            f'  - {{id: {camera["id"]}, name: 走廊, zone: b1-f3, stream: {{url: "{camera["rtsp_url"]}", '
            f"username: {camera['username']}, password: {{env: CAM_PASSWORD}}}}}}"
        )
    lines.append("points:")
    lines += [
        f"  - {{id: p-{n}, name: 讲台 {n}, zone: b1-301, mqtt: {{topic: campus/{site}/p-{n}}}, cameras: {json.dumps(ids)}}}"
        for n in range(points)
    ]
    lines += [
        "centre:",
        "  id: jms-110",
        "  name: 110 指挥中心",
        f'  webhook: {{url: "{centre}", secret: {{env: CENTRE_SECRET}}, drill_secret: {{env: CENTRE_DRILL_SECRET}}{webhook}}}',
        "  media: link",
        extra,
        f'mqtt: {{url: "{broker}", listen: "127.0.0.1:{free_port()}"}}'
        if broker == "embedded"
        else f'mqtt: {{url: "{broker}"}}',
        f'storage: {{objects: "file:objects", database: "sqlite:gateway.db", reserve_gb: {reserve_gb}}}',
        f"evidence: {{before_s: {before_s}, after_s: {after_s}}}",
        f'http: {{listen: "{listen}", public_url: {json.dumps(public_url)}}}',
        "access:",
        '  - {name: "110", unit: 指挥中心, role: centre, token: {env: CENTRE_TOKEN}}',
        "  - {name: 技术员, unit: 第三中学, role: technician, token: {env: TECHNICIAN_TOKEN}}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def pushing(site: str, media_url: str) -> str:
    """The site of :func:`site_yaml` with evidence PUT at ``media_url``."""
    link = "  media: link"
    assert link in site
    return site.replace(
        link,
        f'  media: push\n  media_url: "{media_url}"\n  media_token: {{env: CENTRE_MEDIA_TOKEN}}',
    )


def run_gateway(
    *words: str, environ: Mapping[str, str] | None = None, cwd: Path = ROOT, within_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """A command of the gateway that ends by itself."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "gateway", *words],
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), **(environ or {})},
    )


@contextlib.contextmanager
def sampled(ask: Callable[[], float], every_s: float = 0.05) -> Iterator[list[float]]:
    """Ask again and again on a thread while the block runs; what it answered."""
    seen: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(every_s):
            seen.append(ask())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
