"""What a whole test run shares, because it is dear to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ceph_rgw import running_ceph
from tests.support.s3_stores import S3Store


@pytest.fixture(scope="session")
def ceph() -> Iterator[S3Store]:
    """Ceph's S3 gateway; each test takes buckets of its own."""
    with running_ceph() as store:
        yield store
