"""``campus-gateway demo``: the whole main job on one machine, every part a real process on a real protocol.

Cameras, buttons and the 110 centre are the bundled simulators, started as processes of their own; the gateway is
``campus-gateway run`` itself. ``--once`` presses one button and exits 0 only if every step of the chain was seen.
One file, though long: a script told from top to bottom, used by nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

CAMERAS = 4
BEFORE_S, AFTER_S = 5, 5  # the demo's evidence window of 10 s
CONTACTS = (
    ("campus/p-b1-301", "gateway"),
    ("zigbee2mqtt/sos-gate", "zigbee2mqtt"),
    ("campus/p-dorm-1", "gateway"),
)
START_WITHIN_S = 30.0
ONCE_WITHIN_S = 40.0

_SITE = """\
# Written by campus-gateway demo: the site it runs.
site:
  id: demo-school
  name: 演示中学
  address: 长安路 86 号
  location: {{lat: 46.8085, lon: 130.3653}}
zones:
  - {{id: gate-south, name: 南门, kind: gate}}
  - {{id: b1-f3, name: 一号楼三层走廊, kind: corridor, building: 一号楼, floor: 3}}
  - {{id: b1-301, name: 301 教室, kind: classroom, building: 一号楼, floor: 3}}
  - {{id: dorm-1, name: 一号宿舍楼走廊, kind: dormitory, building: 一号宿舍楼, floor: 1}}
cameras:
{cameras}
points:
  - id: p-b1-301
    name: 301 教室讲台
    zone: b1-301
    mqtt: {{topic: campus/p-b1-301, format: gateway}}
    cameras: [{all_cameras}]
  - id: p-gate
    name: 门卫室
    zone: gate-south
    mqtt: {{topic: zigbee2mqtt/sos-gate, format: zigbee2mqtt}}
  - id: p-dorm-1
    name: 宿舍一层值班台
    zone: dorm-1
    mqtt: {{topic: campus/p-dorm-1, format: gateway}}
    severity: duress
centre:
  id: demo-110
  name: 110 指挥中心(模拟)
  webhook: {{url: "{centre_url}", secret: {{env: CENTRE_SECRET}}, drill_secret: {{env: CENTRE_DRILL_SECRET}}}}
  {media}
mqtt: {{url: embedded}}
storage: {{objects: "file:objects", database: "sqlite:gateway.db", reserve_gb: 1}}
evidence: {{before_s: {before_s}, after_s: {after_s}}}
http: {{listen: "127.0.0.1:{http_port}"}}
access:
  - {{name: "110", unit: 市公安局指挥中心, role: centre, token: {{env: CENTRE_TOKEN}}}}
  - {{name: 演示, unit: 演示中学, role: technician, token: {{env: DEMO_TOKEN}}}}
"""
_CAMERA = """\
  - id: {id}
    name: {name}
    zone: {zone}
    onvif: {{host: {host}, port: {onvif_port}, username: {username}, password: {{env: CAM_PASSWORD}}}}
    record: {record}"""
_PLACES = (
    ("b1-301", "301 教室", "alarms-only"),
    ("b1-f3", "三层走廊", "alarms-only"),
    ("dorm-1", "宿舍走廊", "alarms-only"),
    ("gate-south", "南门枪机", "continuous"),
)


class DemoFailed(Exception):
    """A step did not happen; the text says which, and where to look."""


@dataclass(frozen=True, slots=True)
class Campus:
    """The running demo: where everything is, and who may ask."""

    http: str
    broker: str
    page: str
    token: str
    folder: Path
    push: bool = False


def run_demo(*, once: bool, data_dir: Path | None, http_port: int, push: bool = False) -> int:
    """Run the demo until Ctrl-C, or with ``once`` until one alarm went its whole way. With ``push`` evidence and live pictures
    are PUT at the centre, which fetches nothing. Returns the exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    with ExitStack() as stack:
        folder = _folder(stack, data_dir)
        try:
            campus = _start(stack, folder, http_port, once=once, push=push)
            _report_contacts(campus)
            _wait_for_cameras(campus)
            return _once(campus) if once else _until_interrupted(campus)
        except DemoFailed as failed:
            print(f"\nFAILED 失败: {failed}", file=sys.stderr)
            _show_log(folder / "gateway.log")
            return 1
        except KeyboardInterrupt:
            print("\nending 结束")
            return 0 if not once else 1


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _folder(stack: ExitStack, data_dir: Path | None) -> Path:
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
        return data_dir.absolute()
    folder = Path(tempfile.mkdtemp(prefix="campus-demo-"))
    stack.callback(_remove, folder)
    return folder


def _remove(folder: Path) -> None:
    """The folder, and what the gateway kept ready in memory for its database."""
    from storage.sql.ground import (  # brings the database library: not before the first line is shown
        IN_MEMORY,
        OWNER,
    )

    shutil.rmtree(folder, ignore_errors=True)
    for memory in Path("/dev/shm").glob(f"{IN_MEMORY}{os.getuid()}-*"):
        with suppress(OSError):
            if Path((memory / OWNER).read_text("utf-8")).is_relative_to(folder):
                shutil.rmtree(memory, ignore_errors=True)


def _start(stack: ExitStack, folder: Path, http_port: int, *, once: bool, push: bool) -> Campus:
    token = secrets.token_urlsafe(24)
    environ = {
        **os.environ,
        "CENTRE_SECRET": _webhook_secret(),
        "CENTRE_DRILL_SECRET": _webhook_secret(),
        "CENTRE_TOKEN": secrets.token_urlsafe(24),
        "CENTRE_MEDIA_TOKEN": secrets.token_urlsafe(24),
        "CAM_PASSWORD": secrets.token_urlsafe(12),
        "DEMO_TOKEN": token,
        "PYTHONSAFEPATH": "1",
    }
    print(f"starting {CAMERAS} simulated cameras and a 110 centre 启动模拟摄像机和 110 中心 …", flush=True)
    auto = ["--auto", "accepted+1,dispatched+2,arrived+3,closed@manifest+1"] if once else []
    looks = "--no-fetch" if push else "--watch-live"
    simulators = _process(
        stack,
        ["-m", "simulators", "campus", "--cameras", str(CAMERAS), "--with-parent", looks, *auto],
        environ,
        folder / "simulators.log",
    )
    outside = _first_line(simulators, "the simulators", folder / "simulators.log")
    site = folder / "site.yaml"
    port = _free_port(http_port)
    site.write_text(_site_text(outside, port, push=push), encoding="utf-8")
    print("starting the gateway 启动网关 …", flush=True)
    started = time.monotonic()
    gateway = _process(
        stack,
        ["-m", "gateway", "run", "--config", str(site), "--data-dir", str(folder / "data")],
        environ,
        folder / "gateway.log",
    )
    line = _first_line(gateway, "the gateway", folder / "gateway.log")
    print(f"gateway armed after {time.monotonic() - started:.1f} s 网关已就绪\n")
    campus = Campus(line["http"], line["broker"], outside["centre"]["page"], token, folder, push)
    print(f"  110 centre's page 110 中心页面    {campus.page}")
    print(f"  gateway API 网关接口              {campus.http}/docs")
    # A token of this run and this machine only; without it the page shows a form.
    print(f"  recordings 录像                   {campus.http}/recordings  token 令牌 {campus.token}")
    print(f"  broker for buttons 报警触点      {campus.broker}")
    print(f"  data and logs 数据与日志          {folder}\n", flush=True)
    return campus


def _site_text(outside: Mapping[str, Any], port: int, *, push: bool) -> str:
    cameras = [
        _CAMERA.format(**camera, name=name, zone=zone, record=record)
        for camera, (zone, name, record) in zip(outside["cameras"], _PLACES, strict=True)
    ]
    media_url = outside["centre"]["media_url"]
    put = f'media: push\n  media_url: "{media_url}"\n  media_token: {{env: CENTRE_MEDIA_TOKEN}}'
    return _SITE.format(
        media=put if push else "media: link",
        cameras="\n".join(cameras),
        all_cameras=", ".join(c["id"] for c in outside["cameras"]),
        centre_url=outside["centre"]["url"],
        before_s=BEFORE_S,
        after_s=AFTER_S,
        http_port=port,
    )


def _report_contacts(campus: Campus) -> None:
    """Each contact says that it is there, as hardware does when it is switched on: one that was never heard is a fault."""
    for topic, format_ in CONTACTS:
        _button(campus, topic, "--format", format_, "--event", "alive")


def _wait_for_cameras(campus: Campus) -> None:
    """Until every camera delivers and its ring covers the time before a press."""
    began = time.monotonic()
    said = -1
    while True:
        cameras = _get(campus, "/api/v1/cameras")["cameras"]
        ready = [c for c in cameras if c["health"]["healthy"] and c["health"]["ring_s"] >= BEFORE_S]
        if len(ready) != said:
            said = len(ready)
            print(f"  cameras with a full ring 摄像机缓冲就绪 {said}/{len(cameras)}", flush=True)
        if said == CAMERAS:
            return
        if time.monotonic() - began > START_WITHIN_S:
            causes = ", ".join(f"{c['id']}: {c['health']['cause'] or 'filling'}" for c in cameras)
            raise DemoFailed(f"not all cameras deliver after {START_WITHIN_S:.0f} s ({causes})")
        time.sleep(0.2)


def _until_interrupted(campus: Campus) -> int:
    topics = ("campus/p-b1-301", "campus/p-dorm-1")
    print("Press Enter to press a button, Ctrl-C to end. 按回车键触发一次报警,Ctrl-C 结束。")
    print(f"Or: campus-simulators button --broker {campus.broker} --topic {topics[0]}\n", flush=True)
    presses = 0
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 1.0)
        if not ready:
            continue
        if not sys.stdin.readline():  # no terminal: the pages and the button command remain
            signal.pause()
        topic = topics[presses % len(topics)]
        presses += 1
        _press(campus, topic)
        print(f"pressed {topic} 已触发", flush=True)


def _press(campus: Campus, topic: str) -> datetime:
    before = datetime.now(UTC)
    line = _button(campus, topic)
    published = line.get("published_s")
    return datetime.fromtimestamp(published, UTC) if isinstance(published, int | float) else before


def _button(campus: Campus, topic: str, *words: str) -> dict[str, Any]:
    command = ["-m", "simulators", "button", "--broker", campus.broker, "--topic", topic, *words]
    done = subprocess.run(
        [sys.executable, "-P", *command], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"the button could not publish: {done.stderr.strip()[-300:]}")
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return line


def _once(campus: Campus) -> int:
    print("pressing the button of 301 教室 触发 301 教室报警触点 …\n", flush=True)
    pressed_at = _press(campus, "campus/p-b1-301")
    began = time.monotonic()
    shown: set[str] = set()
    while True:
        steps = sorted(_steps(campus, pressed_at))
        for at, what in steps:
            if what not in shown:
                shown.add(what)
                print(f"  {(at - pressed_at).total_seconds():+8.3f} s  {what}", flush=True)
        missing = [name for name, happened in _expected(campus).items() if not happened]
        if not missing:
            break
        if time.monotonic() - began > ONCE_WITHIN_S:
            raise DemoFailed(f"after {ONCE_WITHIN_S:.0f} s still missing: {'; '.join(missing)}")
        time.sleep(0.2)
    print("\ntimeline 时间线 (seconds after the press 触发后秒数)")
    for at, what in sorted(_steps(campus, pressed_at)):
        print(f"  {(at - pressed_at).total_seconds():+8.3f}  {what}")
    print("\nevery step happened 全部步骤完成")
    return 0


def _steps(campus: Campus, pressed_at: datetime) -> Iterator[tuple[datetime, str]]:
    """What happened, from both ends: the gateway's record and the centre's."""
    yield pressed_at, "contact closed, published by MQTT 触点闭合"
    alarm = _the_alarm(campus)
    if alarm is None:
        return
    for entry in alarm["timeline"]:
        if entry["what"] in ("raised", "stored", "failed", "uploaded", "manifest", "replied"):
            yield _instant(entry["at"]), f"gateway 网关: {_words(entry['what'], entry['detail'])}"
    seen = _at_centre(campus)
    if seen is None:
        return
    if seen["raised"]:
        yield _unix(seen["raised"]["taken_s"]), "110 centre 中心: alarm.raised received 收到报警"
    for item in seen["evidence"]:
        if item.get("fetched_s"):
            told = item["announced"]
            name = f"{told['kind']} {told['moment']} {told['camera']} {told['source']}"
            got = (
                "PUT here, digest right 已推送并校验" if campus.push else "fetched, digest right 已取回并校验"
            )
            yield _unix(item["pushed_s"] or item["fetched_s"]), f"110 centre 中心: {name} {got}"
    for message in seen["manifests"]:
        revision = message["data"]["revision"]
        yield _unix(message["taken_s"]), f"110 centre 中心: manifest {revision} received 收到清单"
    for look in seen["live"]:
        if look.get("first_bytes_s"):
            yield _unix(look["first_bytes_s"]), f"110 centre 中心: watching {look['camera']} live 实时画面"
    for look in seen["pushed_live"]:
        yield _unix(look["first_s"]), f"110 centre 中心: {look['camera']} live comes by PUT 推送实时画面"


def _words(what: str, detail: Mapping[str, Any]) -> str:
    if what in ("stored", "failed"):
        text = f"{detail['kind']} {detail['moment']} {detail['camera']}"
        if what == "failed":
            return f"{text} FAILED: {detail['reason']}"
        offset = "" if detail["offset_ms"] is None else f" ({detail['offset_ms']:+d} ms)"
        return f"{text} stored{offset} 已保存"
    if what == "uploaded":
        return f"{detail['evidence']} of {detail['camera']} is at the centre 已上传"
    if what == "replied":
        return f"operator's reply {detail['reply']} by {detail['name']} 接警员答复"
    if what == "manifest":
        return f"manifest {detail['revision']} made 生成清单"
    return "alarm committed 报警入库"


def _expected(campus: Campus) -> dict[str, bool]:
    """Every step of the chain, and whether it was seen at the far end."""
    seen = _at_centre(campus)
    if seen is None or not seen["raised"]:
        return {"alarm.raised at the centre": False}
    cameras = [c["id"] for c in seen["raised"]["data"]["cameras"]]
    got = {
        (i["announced"]["camera"], i["announced"]["kind"], i["announced"]["moment"])
        for i in seen["evidence"]
        if i["fetched_s"] and i["sha256_right"] and i["bytes_right"] and not i["problem"]
    }
    expected = {
        f"{kind} {moment} of {camera} at the centre and right": (camera, kind, moment) in got
        for camera in cameras
        for kind, moment in (
            ("still", "press"),
            ("still", "before"),
            ("still", "after"),
            ("clip", "before"),
            ("clip", "whole"),
        )
    }
    expected["four cameras in the alert"] = len(cameras) == CAMERAS
    watched = [x for x in seen["live"] if x.get("first_bytes_s")]
    pushed = [x for x in seen["pushed_live"] if x["playlist_s"] and not x["problem"]]
    expected["live picture seen"] = len(pushed if campus.push else watched) == CAMERAS
    expected["manifest at the centre"] = bool(seen["manifests"])
    replied = {r["word"] for r in seen["replies"] if r["status"] == 200}
    for word in ("accepted", "dispatched", "arrived", "closed"):
        expected[f"reply {word} taken by the gateway"] = word in replied
    alarm = _the_alarm(campus)
    expected["alarm closed at the gateway"] = alarm is not None and alarm["state"] == "closed"
    expected["no message missing, none with a problem"] = (
        not seen["missing_sequences"] and not (seen["raised"]["problems"])
    )
    return expected


def _the_alarm(campus: Campus) -> dict[str, Any] | None:
    alarms = _get(campus, "/api/v1/alarms")["alarms"]
    if not alarms:
        return None
    found: dict[str, Any] = _get(campus, f"/api/v1/alarms/{alarms[0]['id']}")
    return found


def _at_centre(campus: Campus) -> dict[str, Any] | None:
    alarms = _json(f"{campus.page.rstrip('/')}/control/state", {})["alarms"]
    return alarms[0] if alarms else None


# Processes and small things.


def _process(
    stack: ExitStack, arguments: list[str], environ: Mapping[str, str], log: Path
) -> subprocess.Popen[str]:
    errors: IO[str] = stack.enter_context(log.open("w", encoding="utf-8"))
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to pass on, in order
    )
    stack.enter_context(_ended(process))
    return process


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=6)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _first_line(process: subprocess.Popen[str], who: str, log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_WITHIN_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        _show_log(log)
        raise DemoFailed(f"{who} did not start; see {log}")
    found: dict[str, Any] = json.loads(line)
    return found


def _show_log(log: Path) -> None:
    if log.exists():
        print(f"--- the end of {log.name}", file=sys.stderr)
        print("\n".join(log.read_text("utf-8", "replace").splitlines()[-25:]), file=sys.stderr)


def _get(campus: Campus, path: str) -> Any:
    return _json(campus.http + path, {"Authorization": f"Bearer {campus.token}"})


def _json(url: str, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(url, headers=dict(headers))
    return _retried(lambda: json.load(urllib.request.urlopen(request, timeout=5)))


def _retried(ask: Callable[[], Any]) -> Any:
    """The HTTP face opens a moment after the contacts: a refused connection is asked again."""
    for _ in range(100):
        try:
            return ask()
        except OSError as exc:
            last = exc
            time.sleep(0.1)
    raise DemoFailed(f"no answer over HTTP: {last}")


def _free_port(preferred: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            print(f"port {preferred} is busy; taking {probe.getsockname()[1]} 端口被占用")
        port: int = probe.getsockname()[1]
        return port


def _webhook_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _unix(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
