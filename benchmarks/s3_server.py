"""A real S3 store on loopback for a benchmark, its processes apart from what is measured: Ceph's RGW, or ``rclone serve s3``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rig
from tests.support.ceph_rgw import PACKAGES, running_ceph
from tests.support.s3_stores import Rclone, S3Store

SECRET_ENV = "BENCH_S3_SECRET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running store. ``name`` says which; ``pids`` are its processes, none of them the gateway's."""

    name: str
    store: S3Store
    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        """User and system time of all its processes so far."""
        return sum(map(rig.cpu_s, self.pids))

    def site_words(self, bucket: str) -> str:
        """``storage.objects`` and its keys for a bucket; the secret is in :attr:`environ`."""
        return (
            f'objects: "s3+http://127.0.0.1:{self.store.port}/{bucket}", access_key: {self.store.access_key}, '
            f"secret_key: {{env: {SECRET_ENV}}}, region: us-east-1"
        )

    @property
    def environ(self) -> dict[str, str]:
        return {SECRET_ENV: self.store.secret_key}


@contextmanager
def server(folder: Path, room_bytes: int) -> Iterator[Server]:
    """Ceph where all of it is installed and a quarter of the free memory takes ``room_bytes`` (it keeps objects in memory here),
    else rclone on ``folder``. Every process is ended by its id."""
    before = set(rig.family(os.getpid()))
    with ExitStack() as ended:
        if _has_ceph() and room_bytes < _available_bytes() / 4:
            name, store = "Ceph RGW", ended.enter_context(running_ceph(max(2 << 30, room_bytes)))
        else:
            folder.mkdir()
            name, store = "rclone serve s3", ended.enter_context(Rclone(folder))
        pids = tuple(sorted(set(rig.family(os.getpid())) - before))
        yield Server(name=name, store=store, pids=pids)


def _has_ceph() -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return all(shutil.which(program, path=path) for program in PACKAGES)


def _available_bytes() -> int:
    for row in Path("/proc/meminfo").read_text().splitlines():
        if row.startswith("MemAvailable:"):
            return int(row.split()[1]) * 1024
    return 0
