"""A throw-away Ceph with its S3 gateway: one monitor, one store in memory, one manager and radosgw, all on loopback.

Started by hand, since the usual ways need containers or root's systemd. Debian's ``radosgw ceph-mon ceph-osd ceph-mgr`` of
16.2 is up in about 13 s and takes some 800 MB, so it is started once a test run (the fixture ``ceph``).
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import Child, free_port, tool, wait_for
from tests.support.s3_stores import ACCESS_KEY, SECRET_KEY, S3Store, listens

PACKAGES = {
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "ceph-mgr": "ceph-mgr",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
    "ceph": "ceph-common",
    "ceph-authtool": "ceph-common",
    "monmaptool": "ceph-common",
}
#: Workers of one run end together, but for the last test of each.
ENDS_WITHIN_S = 300.0
_CONFIG = """\
[global]
fsid = {fsid}
keyring = {folder}/keyring
mon_host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = {bytes}
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
mon_data_avail_crit = 1
mon_data_avail_warn = 1
[mon.a]
mon_data = {folder}/mon
host = localhost
[osd.0]
osd_data = {folder}/osd
host = localhost
[mgr.x]
mgr_data = {folder}/mgr
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_data = {folder}/rgw
"""


@contextmanager
def running_ceph(room_bytes: int = 2 << 30) -> Iterator[S3Store]:
    """Start it with room in memory for so much, and end every process of it by its id. Skips (or fails, strictly) where it is not
    installed."""
    for program, package in PACKAGES.items():
        tool(program, package)
    # A short path: its sockets have names of at most 108 bytes.
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, ExitStack() as ended:
        store = S3Store(free_port())
        _start(Path(name), store, ended, room_bytes)
        yield store


@contextmanager
def shared_ceph(folder: Path) -> Iterator[S3Store]:
    """One Ceph for all workers of a test run: who asks first starts it, and ends it when nobody uses it any more. ``folder`` is
    common to the workers."""
    with ExitStack() as ended:
        with _users(folder) as users:
            is_first = not users
            # The keys are made anew in each process.
            store = ended.enter_context(running_ceph()) if is_first else S3Store(**users[0])
            mine = {"port": store.port, "access_key": store.access_key, "secret_key": store.secret_key}
            users.append(mine)
        try:
            yield store
        finally:
            with _users(folder) as users:
                users.remove(mine)
            if is_first:
                wait_for(lambda: not _used(folder), within_s=ENDS_WITHIN_S, what="the end of other workers")


def _used(folder: Path) -> bool:
    with _users(folder) as users:
        return bool(users)


@contextmanager
def _users(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Where it is and its keys, once for each worker that uses it; what is changed in it is kept. One worker at a time."""
    with (folder / "ceph.users").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        users: list[dict[str, Any]] = json.loads(file.read() or "[]")
        yield users
        file.seek(0)
        file.truncate()
        file.write(json.dumps(users))


def _start(folder: Path, store: S3Store, ended: ExitStack, room_bytes: int) -> None:
    for part in ("mon", "osd", "mgr", "rgw", "run"):
        (folder / part).mkdir()
    config, keyring, monmap = folder / "ceph.conf", folder / "keyring", folder / "monmap"
    fsid, v2, v1 = str(uuid.uuid4()), free_port(), free_port()
    config.write_text(
        _CONFIG.format(fsid=fsid, folder=folder, v2=v2, v1=v1, port=store.port, bytes=room_bytes), "utf-8"
    )

    def run(program: str, *words: object, within_s: float = 60.0) -> bool:
        done = subprocess.run(
            [tool(program, PACKAGES[program]), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            cwd=folder,
        )
        with (folder / "commands.log").open("a") as said:
            said.write(f"{program} {words}\n{done.stdout}{done.stderr}\n")
        return done.returncode == 0

    def must(program: str, *words: object) -> None:
        assert run(program, *words), (folder / "commands.log").read_text()[-3000:]

    def daemon(program: str, *words: str) -> Child:
        child = Child(
            [tool(program, PACKAGES[program]), "-c", str(config), *words, "-f"],
            log=folder / f"{program}.out",
            environ={"HOME": str(folder), "TMPDIR": str(folder)},
            cwd=folder,
        )
        ended.callback(child.kill)
        return child

    allow = [word for what in ("mon", "osd", "mgr") for word in ("--cap", what, "allow *")]
    must("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for who in ("client.admin", "mgr.x", "osd.0", "client.rgw"):
        must("ceph-authtool", keyring, "--gen-key", "-n", who, *allow)
    addresses = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
    must("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", addresses, monmap)
    conf = ("-c", config)
    must("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    monitor = daemon("ceph-mon", "-i", "a")
    wait_for(
        lambda: listens(v2, monitor) and run("ceph", *conf, "--connect-timeout", "5", "-s"),
        within_s=60,
        what="Ceph's monitor answers",
    )
    must("ceph", *conf, "auth", "import", "-i", keyring)
    osd = uuid.uuid4()
    must("ceph", *conf, "osd", "new", osd)
    must("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
    daemon("ceph-osd", "-i", "0")
    daemon("ceph-mgr", "-i", "x")
    gateway = daemon("radosgw", "-n", "client.rgw")
    wait_for(lambda: listens(store.port, gateway), within_s=120, what="radosgw listens")
    user = (
        "--uid=campus",
        "--display-name=campus",
        f"--access-key={ACCESS_KEY}",
        f"--secret-key={SECRET_KEY}",
    )
    must("radosgw-admin", *conf, "user", "create", *user)
