"""`check --probe` beside a running gateway and without one: what works, what does not, and what to do."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from config.loading import load_site
from config.settings import resolve
from gateway.app.commands.probe.room import probe_room
from gateway.app.commands.probe.table import Line
from simulators.button import SimulatedButton, gateway_payload
from simulators.centre.signatures import new_secret
from tests.support.clock import run
from tests.support.processes import (
    SECRETS,
    Campus,
    Gateway,
    any_broker,
    free_port,
    pushing,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)

WITHIN_S = 30.0


def lines_of(printed: str) -> dict[str, tuple[str, str]]:
    """What each line of the table says: name to (result, detail)."""
    found = {}
    for line in printed.splitlines():
        for result in ("OK", "WARN", "FAIL"):
            name, mark, detail = line.partition(f"  {result} ")
            if mark:
                found[name.strip()] = (result, detail.strip())
                break
    return found


@pytest.mark.slow
def test_probe_beside_a_running_gateway_disturbs_nothing(tmp_path: Path) -> None:
    """Everything works: exit 0, a line for each thing; the gateway's session, lock and alarms are as before."""
    with any_broker(tmp_path) as broker, Campus(tmp_path, cameras=2) as campus:
        port = free_port()
        site = site_yaml(
            broker=broker,
            centre=campus.centre_url,
            points=2,
            cameras=campus.cameras[:1],
            listen=f"127.0.0.1:{port}",
        )
        onvif = campus.cameras[1]
        site = site.replace(
            "points:\n",
            f"  - {{id: cam-2, name: 走廊, zone: b1-301, onvif: {{host: 127.0.0.1, port: {onvif['onvif_port']}, "
            f"username: {onvif['username']}, password: {{env: CAM_PASSWORD}}}}, record: continuous}}\npoints:\n",
        )
        with SimulatedButton(broker) as button:
            button.press(topic(1), gateway_payload(press_id="kept"), retain=True)
        gateway = Gateway(tmp_path, site)
        alone = run_gateway(*gateway.command("check", "--probe")[4:])
        assert alone.returncode == 0, alone.stdout + alone.stderr
        assert lines_of(alone.stdout)[f"http 127.0.0.1:{port}"] == ("OK", "free")
        assert not gateway.data.exists(), "a probe makes nothing"
        with gateway, SimulatedButton(broker) as button:
            began_s = time.monotonic()
            done = run_gateway(*gateway.command("check", "--probe")[4:])
            took_s = time.monotonic() - began_s
            print(f"{took_s:.1f} s\n{done.stdout}")
            assert done.returncode == 0, done.stdout + done.stderr
            assert took_s < WITHIN_S
            table = lines_of(done.stdout)
            assert table["camera 摄像机 cam-1"][0] == "OK"
            assert table["camera 摄像机 cam-1"][1].startswith("H.264 (avc1.")
            assert "640×360" in table["camera 摄像机 cam-1"][1]
            assert "key frame every 1." in table["camera 摄像机 cam-1"][1]  # a busy machine draws late
            assert "no snapshot offered" in table["camera 摄像机 cam-1"][1]
            assert table["camera 摄像机 cam-2"][0] == "OK"
            assert "snapshot of" in table["camera 摄像机 cam-2"][1]
            assert table["broker 消息代理"][0] == "OK"
            assert table["point 触点 p-0"] == ("OK", f"{topic(0)}: QoS 1, nothing retained")
            assert table["point 触点 p-1"][0] == "WARN"
            assert "retained" in table["point 触点 p-1"][1]
            assert table["centre 110 中心 (first path)"][0] == "OK"
            assert table["objects 证据存储"][0] == "OK"
            assert table["database 数据库"][0] == "OK"
            assert "30 days of 1 camera(s) at the " in table["room 容量"][1]
            assert "0.0 Mbit/s" not in table["room 容量"][1]
            assert f"process {gateway.pid}" in table[f"http 127.0.0.1:{port}"][1]
            assert gateway.ready()
            button.press(topic(0))
            wait_for(campus.alarms, within_s=5, what="a press after the probe")
            assert len(gateway.alarms()) == 1


def _filling() -> float:
    """Bytes a second that fill the disk in 30 days, and leave no room for what others keep on it."""
    disk = shutil.disk_usage(tempfile.gettempdir())
    return (disk.free + disk.total) / 2 / (30 * 86_400)


@pytest.mark.parametrize(
    ("rates", "objects", "result", "words"),
    [
        ({"cam-1": 1.0, "cam-2": 1.0}, "file:objects", "OK", ["30 days of 2 camera(s)", "TB of it free"]),
        (
            {"cam-1": 1e10, "cam-2": 0.0},
            "file:objects",
            "WARN",
            ["full after", "of 30 days", "a larger disk"],
        ),
        (
            {"cam-1": _filling(), "cam-2": 0.0},
            "file:objects",
            "WARN",
            ["full after", "of 30 days"],
        ),
        ({"cam-1": 1.0}, "file:objects", "WARN", ["without cam-2, of which nothing was seen"]),
        ({}, "file:objects", "WARN", ["0 camera(s)", "without cam-1, cam-2"]),
        ({"cam-1": 1.0, "cam-2": 1.0}, "s3", "WARN", ["is not known: compare it with the store's quota"]),
    ],
    ids=["enough", "too small", "too little free", "one unseen", "none seen", "a bucket"],
)
def test_the_disk_of_the_objects_is_held_against_what_the_cameras_send(
    tmp_path: Path, rates: dict[str, float], objects: str, result: str, words: list[str]
) -> None:
    """The period at the rates just seen, on the disk that really takes it; what was not seen is not taken for nothing."""
    cameras = "".join(
        f"  - {{id: {name}, name: 走廊, zone: b1-301, stream: {{url: 'rtsp://127.0.0.1:1/{name}'}}, record: {record}}}\n"
        for name, record in (("cam-1", "continuous"), ("cam-2", "continuous"), ("cam-3", "alarms-only"))
    )
    text = site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus")
    text = text.replace("cameras: []\n", f"cameras:\n{cameras}", 1)
    if objects == "s3":
        s3 = 'objects: "s3+http://127.0.0.1:1/bucket", access_key: id, secret_key: {env: CAM_PASSWORD}'
        text = (
            text[: text.index("storage:")]
            + f"storage: {{{s3}}}\n"
            + text[text.index("\n", text.index("storage:")) + 1 :]
        )
    site = tmp_path / "site.yaml"
    site.write_text(text, "utf-8")
    told: list[Line] = []
    run(probe_room(resolve(load_site(site, SECRETS), None), rates, told.append))
    (line,) = told
    assert (line.what, str(line.result)) == ("room 容量", result), line
    assert all(each in line.detail for each in words), line


@pytest.mark.slow
def test_probe_names_everything_that_does_not_work(tmp_path: Path) -> None:
    """Wrong password, wrong codec, no broker, wrong secret, a taken port: exit 1 in time, each line says what to do."""
    with Campus(tmp_path, cameras=3) as campus:
        campus.camera_fault(0, reject_login=True)
        campus.camera_fault(1, wrong_codec=True)
        campus.camera_fault(2, freeze=True)
        taken = campus.cameras[0]["onvif_port"]
        site = site_yaml(
            broker=f"mqtt://127.0.0.1:{free_port()}",
            centre=campus.centre_url,
            cameras=campus.cameras,
            listen=f"127.0.0.1:{taken}",
            reserve_gb=90_000,
        )
        gateway = Gateway(tmp_path, site)
        began_s = time.monotonic()
        done = run_gateway(*gateway.command("check", "--probe")[4:], environ={"CENTRE_SECRET": new_secret()})
        took_s = time.monotonic() - began_s
        print(f"{took_s:.1f} s\n{done.stdout}")
        assert done.returncode == 1, done.stdout + done.stderr
        assert took_s < WITHIN_S
        table = lines_of(done.stdout)
        expected = {
            "camera 摄像机 cam-1": ("FAIL", "401"),
            "camera 摄像机 cam-2": ("FAIL", "JPEG"),
            "camera 摄像机 cam-3": ("FAIL", "the picture stands still"),
            "broker 消息代理": ("FAIL", "is the broker running"),
            "centre 110 中心 (first path)": ("FAIL", "compare centre.webhook.secret"),
            f"http 127.0.0.1:{taken}": ("FAIL", "taken by another program"),
            "disk 磁盘": ("WARN", "make room"),
        }
        for name, (result, words) in expected.items():
            assert table[name][0] == result, (name, table[name])
            assert words in table[name][1], (name, table[name])
        assert "an alarm would suffer" in done.stdout


def test_check_without_probe_talks_to_nobody(tmp_path: Path) -> None:
    """Nothing of what it names answers, and plain `check` accepts it all the same."""
    site = site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus")
    gateway = Gateway(tmp_path, site)
    done = run_gateway(*gateway.command("check")[4:])
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert not gateway.data.exists()


@pytest.mark.slow
def test_probe_looks_at_the_place_for_evidence(tmp_path: Path) -> None:
    """With `media: push` a line says that the place answers and takes the token, or which of the two it does not."""
    with Campus(tmp_path, cameras=0) as campus:
        site = site_yaml(broker="embedded", centre=campus.centre_url)
        gateway = Gateway(tmp_path, pushing(site, campus.media_url))
        words = gateway.command("check", "--probe")[4:]
        good = lines_of(run_gateway(*words).stdout)["centre 110 中心 (media)"]
        assert good[0] == "OK"
        wrong = run_gateway(*words, environ={"CENTRE_MEDIA_TOKEN": "another-token-altogether"})
        said = lines_of(wrong.stdout)["centre 110 中心 (media)"]
        assert (said[0], "centre.media_token" in said[1]) == ("FAIL", True)
        assert wrong.returncode == 1
        nobody = Gateway(tmp_path, pushing(site, f"http://127.0.0.1:{free_port()}/media"))
        silent = lines_of(run_gateway(*nobody.command("check", "--probe")[4:]).stdout)
        assert silent["centre 110 中心 (media)"][0] == "FAIL"
        assert "centre.media_url: no answer" in silent["centre 110 中心 (media)"][1]
