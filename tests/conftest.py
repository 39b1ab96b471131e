"""What tests of several kinds share: what is dear to start, once a run, and what needs root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.sql.ground import OWNER
from tests.support.ceph_rgw import running_ceph, shared_ceph
from tests.support.s3_stores import S3Store
from tests.support.small_disk import mounted_small_disk


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[S3Store]:
    """Ceph's S3 gateway, one for all workers of a run; each test takes buckets of its own."""
    alone = worker_id == "master"
    with running_ceph() if alone else shared_ceph(tmp_path_factory.getbasetemp().parent) as store:
        yield store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """60 MB of memory mounted as a disk."""
    with mounted_small_disk(tmp_path) as place:
        yield place


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What stands in memory for databases of this run's own folders (storage/DESIGN.md) is of no use any more."""
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    base = str(factory.getbasetemp())
    for owner in Path("/dev/shm").glob(f"campus-gateway-{os.getuid()}-*/{OWNER}"):
        if owner.read_text("utf-8").startswith(base):
            shutil.rmtree(owner.parent, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what mounts a disk, by the fixture it asks for, so that .ci/run can give it to root and the rest to a user."""
    for item in items:
        if "small_disk" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs_root)
