"""A start depends on nothing that a press does not need: whatever is wrong with the files of the data folder or with a new site
file, the gateway is armed, says what is wrong, and a press reaches the centre."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulators.button import SimulatedButton
from tests.support.processes import (
    Campus,
    Gateway,
    any_broker,
    free_port,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)
from tests.support.small_disk import fill

ARMED_WITHIN_S = 10  # ours: a box that was through the worst is armed again


@contextmanager
def _school(folder: Path, data: Path | None = None) -> Iterator[tuple[Gateway, Campus, SimulatedButton]]:
    """A school whose gateway has run once, and stands still now."""
    with any_broker(folder) as broker, Campus(folder) as campus, SimulatedButton(broker) as button:
        gateway = Gateway(folder, site_yaml(broker=broker, centre=campus.centre_url, points=3), data=data)
        gateway.start()
        wait_for(gateway.data.joinpath("accepted-site.yaml").exists, within_s=10, what="the accepted copy")
        wait_for(
            gateway.data.joinpath("operator.sock").exists, within_s=10, what="everything of the start is done"
        )
        assert gateway.stop()[0] == 0
        yield gateway, campus, button


def _pressed(gateway: Gateway, campus: Campus, button: SimulatedButton, point: int = 0) -> None:
    """Each point once: while its alarm is open a further press is a repetition of it."""
    before = len(campus.alarms())
    button.press(topic(point))
    wait_for(lambda: len(campus.alarms()) > before, within_s=5, what="the press at the centre")


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zeroed(path: Path) -> None:
    path.write_bytes(bytes(4096))  # as a file is after a power cut on many file systems


def _foreign(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + b"not ours")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone") / "further")


def _unreadable(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything; .ci/run tests as an ordinary user")
    path.chmod(0)


KEYS = ("link.key", "register.key")
#: What holds no secret of its own: made again, replaced or gone around without a fault.
OTHERS = ("accepted-site.yaml", "accepted-site.from", "lock", "objects.mark")


@pytest.mark.parametrize("spoil", [_missing, _empty, _zeroed, _foreign, _folder, _dangling, _unreadable])
def test_no_file_of_the_data_folder_stands_between_a_press_and_the_centre(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """All of them at once. A key that is not the one before is a fault that names its file, here and at the centre."""
    with _school(tmp_path) as (gateway, campus, button):
        for name in (*KEYS, *(OTHERS if spoil is not _unreadable else OTHERS[:2])):
            (gateway.data / name).touch()
            spoil(gateway.data / name)
        with gateway:
            _pressed(gateway, campus, button)
            faults = wait_for(
                lambda: (
                    (causes if all(any(key in cause for cause in causes) for key in KEYS) else None)
                    if (causes := list(gateway.faults().values()))
                    else None
                ),
                within_s=10,
                what="a fault for each key",
            )
            assert "Traceback" not in gateway.log.read_text("utf-8", "replace"), faults
            wait_for(
                lambda: all(any(key in fault["cause"] for fault in campus.faults()) for key in KEYS),
                within_s=10,
                what="the centre is told of each key",
            )


@pytest.mark.parametrize("name", ["spool", "recording", "exports", "operator.sock"])
def test_a_file_where_a_folder_should_be_disarms_nothing(tmp_path: Path, name: str) -> None:
    """What evidence, recordings and exports are kept in is not asked for by a press."""
    with _school(tmp_path) as (gateway, campus, button):
        place = gateway.data / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        place.mkdir() if name == "operator.sock" else place.write_bytes(b"a file")
        with gateway:
            _pressed(gateway, campus, button)
            if name in ("spool", "operator.sock"):  # nothing is recorded or exported here
                wait_for(gateway.faults, within_s=15, what="a fault")


@pytest.mark.parametrize("reserve", ["left", "spent"])
def test_a_restart_on_a_full_disk_is_armed(tmp_path: Path, small_disk: Path, reserve: str) -> None:
    """Also where the database's own reserve was spent before: it takes presses and says that the disk is full. The copy of the
    site file is written as soon as there is room."""
    with _school(tmp_path, small_disk / "data") as (gateway, campus, button):
        copy = gateway.data / "accepted-site.yaml"
        copy.unlink()
        if reserve == "spent":
            (gateway.data / "gateway.db.ballast").unlink()
        filling = small_disk / "somebody-elses.bin"
        fill(filling)
        with gateway:
            _pressed(gateway, campus, button)
            told = wait_for(gateway.faults, within_s=10, what="a fault")
            print(told)
            fill(filling)
            _pressed(gateway, campus, button, 1)
            assert any("full" in cause or "room" in cause for cause in gateway.faults().values())
            filling.unlink()
            wait_for(copy.exists, within_s=60, what="the copy is written")
            _pressed(gateway, campus, button, 2)


@pytest.mark.parametrize("why", ["its address is another program's", "its certificate is none"])
def test_a_new_file_that_cannot_be_started_with_does_not_disarm_the_school(tmp_path: Path, why: str) -> None:
    """It reads well and is accepted by `check`; the start fails. The former one is in use, and its copy is unharmed."""
    import socket

    with _school(tmp_path) as (gateway, campus, button), socket.socket() as taken:
        former = gateway.config.read_text("utf-8")
        kept = (gateway.data / "accepted-site.yaml").read_bytes()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f'listen: "127.0.0.1:{taken.getsockname()[1]}"'
        begin = former.index("listen:", former.index("http:"))
        end = min(i for i in (former.find(c, begin) for c in ",}\n") if i > 0)
        if why == "its address is another program's":
            changed = former[:begin] + listen + former[end:]
        else:
            for name in ("cert.pem", "key.pem"):
                (tmp_path / name).write_text("no PEM", "utf-8")
                (tmp_path / name).chmod(0o600)
            tls = "tls: {cert: cert.pem, key: key.pem}"
            changed = former[:begin] + f'listen: "127.0.0.1:{free_port()}", {tls}' + former[end:]
        gateway.config.write_text(changed, "utf-8")
        with gateway:
            causes = wait_for(
                lambda: [c for k, c in gateway.faults().items() if k == ("site", "site-file")],
                within_s=10,
                what="a fault of the site file",
            )
            assert "cannot be started with" in causes[0]
            assert "accepted copy is in use" in causes[0]
            _pressed(gateway, campus, button)
            assert (gateway.data / "accepted-site.yaml").read_bytes() == kept


def test_a_path_with_nothing_at_it_ends_with_2_and_a_file_that_is_gone_does_not(tmp_path: Path) -> None:
    """A mistyped name beside the right one is refused, though a copy is kept; the file in use that vanished is a fault."""
    with _school(tmp_path) as (gateway, campus, button):
        mistyped = tmp_path / "siet.yaml"
        for command in ("run", "check", "make-bucket"):
            done = run_gateway(command, "--config", str(mistyped), "--data-dir", str(gateway.data))
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
            assert str(mistyped) in done.stderr
        done = run_gateway("drill", "--config", str(mistyped), "--point", "p-0")
        assert (done.returncode, str(mistyped) in done.stderr) == (2, True)
        gateway.config.unlink()
        with gateway:
            wait_for(
                lambda: ("site", "site-file") in gateway.faults(),
                within_s=10,
                what="a fault of the site file",
            )
            _pressed(gateway, campus, button)


@pytest.mark.parametrize("place", ["below a file", "in a folder of another user", "a link to nowhere"])
def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path, place: str) -> None:
    """Where, why and what to do; exit 2, no traceback."""
    site = tmp_path / "site.yaml"
    site.write_text(site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus"), "utf-8")
    data = tmp_path / "place" / "data"
    if place == "below a file":
        data.parent.write_bytes(b"")
    elif place == "a link to nowhere":
        data.parent.mkdir()
        data.symlink_to("/proc/self/gone/data")
    elif os.geteuid() == 0:
        data = Path("/proc/campus-gateway-data")
    else:
        data = Path("/campus-gateway-data")
    done = run_gateway("run", "--config", str(site), "--data-dir", str(data))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if str(data) in line]
    assert "--data-dir" in line


def test_a_data_folder_that_may_not_be_written_says_whose_it_should_be(tmp_path: Path) -> None:
    """It is not called locked by another user, where there is no lock."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; .ci/run tests as an ordinary user")
    site = tmp_path / "site.yaml"
    site.write_text(site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus"), "utf-8")
    data = tmp_path / "data"
    data.mkdir(mode=0o555)
    done = run_gateway("run", "--config", str(site), "--data-dir", str(data))
    assert done.returncode == 2, done.stderr
    assert f"{data} may not be written by this user" in done.stderr
    assert "--data-dir" in done.stderr
