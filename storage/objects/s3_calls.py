"""The S3 calls we make, one function each, through the minio SDK; synchronous, for a thread of :mod:`threads`.

What was found in minio 7.2.20 and urllib3 2.8, and decides how this is written:

* ``put_object`` lets no header through but ``x-amz-…`` and sends no Content-MD5 over plain HTTP (stores with object lock refuse
  such a put). The calls below it, which it is made of, take headers: they are used instead, and tests on two stores hold them.
* urllib3 sends a body under the *connect* time-out, and ``sendall`` counts that for the whole body: 8 MiB in 3 s, or the put
  fails. The connections here send in pieces, each of which may take as long as an answer may.
* ``get_object_retention`` cannot read the date Ceph writes (nanoseconds): how an object is locked is read from its HEAD.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import urllib3
from minio import Minio
from minio.commonconfig import COMPLIANCE
from minio.datatypes import Part, parse_list_objects
from minio.helpers import DictType
from minio.retention import Retention
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse

from gateway.domain.stored import ObjectVersion
from storage.objects.s3_address import S3Address
from storage.objects.s3_errors import Said, translated

PIECE_BYTES = 64 * 1024
DIGEST_HEADER = "x-amz-meta-sha256"
MOST_CONNECTIONS = 16
LISTED_AT_ONCE = 1000
UNVERSIONED = "null"  # Amazon S3: the version of what was put while the bucket kept none
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


def _pool_classes(progress_s: float) -> dict[str, type[HTTPConnectionPool]]:
    def send(connection: HTTPConnection, data: Any, as_it_comes: Callable[[Any], None]) -> None:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(progress_s)
        view = memoryview(data)
        for at in range(0, len(view), PIECE_BYTES):
            as_it_comes(view[at : at + PIECE_BYTES])

    class Http(HTTPConnection):
        def send(self, data: Any) -> None:
            send(self, data, super().send)

    class Https(HTTPSConnection):
        def send(self, data: Any) -> None:
            send(self, data, super().send)

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the store knows of an object. ``sha256`` is what we had it keep, ``None`` where it keeps nothing. ``locked_until`` is
    what it *says*, of a lock that not even the bucket's owner can lift; ``held_until`` of any, one of mode governance
    included, which a privileged owner can lift and we cannot."""

    size: int
    sha256: str | None
    etag: str
    version: str | None = None
    locked_until: datetime | None = None
    held_until: datetime | None = None


class S3Calls:
    """One store; safe for several threads. Every call raises ``Unavailable`` or :class:`Said`."""

    def __init__(self, address: S3Address) -> None:
        self._address = address
        self._bucket = address.bucket
        self._lock = threading.Lock()
        self._made: Minio | None = None

    @property
    def _client(self) -> Minio:
        with self._lock:
            if self._made is None:
                address = self._address
                options: dict[str, Any] = {} if address.tls is None else {"ssl_context": address.tls}
                http = urllib3.PoolManager(
                    timeout=urllib3.Timeout(connect=address.connect_s, read=address.progress_s),
                    retries=False,
                    maxsize=MOST_CONNECTIONS,
                    **options,
                )
                http.pool_classes_by_scheme = _pool_classes(address.progress_s)
                self._made = Minio(
                    address.endpoint,
                    address.access_key,
                    address.secret_key,
                    secure=address.tls is not None,
                    region=address.region,
                    http_client=http,
                )
            return self._made

    def bucket_exists(self) -> bool:
        """Whether there is such a bucket that we may look at."""
        with translated("looking for the bucket", self._address):
            return self._client.bucket_exists(self._bucket)

    def make_bucket(self) -> None:
        """Make the bucket, with object lock. ``Said`` with code ``BucketAlreadyOwnedByYou`` or ``BucketAlreadyExists`` if it is
        there; some stores take it for success."""
        with translated("making the bucket", self._address):
            self._client.make_bucket(self._bucket, object_lock=True)

    def head(self, key: str, version: str | None = None) -> Head | None:
        """What is there, or ``None``."""
        try:
            with translated(f"looking for {key}", self._address):
                found = self._client.stat_object(self._bucket, key, version_id=version)
        except Said as exc:
            if exc.code in ("NoSuchKey", "NoSuchVersion"):
                return None
            self._ask_why(key)
            raise
        said = found.metadata or {}
        until = _time(said.get(LOCK_UNTIL))
        return Head(
            size=found.size or 0,
            sha256=said.get(DIGEST_HEADER),
            etag=found.etag or "",
            version=found.version_id or None,
            locked_until=until if said.get(LOCK_MODE) == COMPLIANCE else None,
            held_until=until,
        )

    def _ask_why(self, key: str) -> None:
        """A refused HEAD has no body and so no reason: raise the one that a GET is given."""
        with translated(f"looking for {key}", self._address):
            self._client.get_object(self._bucket, key, request_headers={"Range": "bytes=0-0"}).close()

    def put(
        self,
        key: str,
        data: bytes,
        sha256: str,
        media_type: str,
        *,
        only_new: bool,
        locked_until: datetime | None = None,
    ) -> None:
        """One PUT. ``only_new`` asks the store to refuse (``PreconditionFailed``) if the key is taken; not every store does.
        ``locked_until`` asks it to lock what it takes; only looking tells whether it did."""
        headers = {
            "Content-MD5": _md5(data),
            "Content-Type": media_type,
            DIGEST_HEADER: sha256,
            **_lock_headers(locked_until),
        }
        if only_new:
            headers["If-None-Match"] = "*"
        with translated(f"storing {key}", self._address):
            self._client._put_object(self._bucket, key, data, dict(headers))

    def begin(
        self, key: str, sha256: str | None, media_type: str, locked_until: datetime | None = None
    ) -> str:
        """Begin an upload in parts; returns its id. Ceph 16.2 forgets ``locked_until`` on the way: only looking tells."""
        headers: dict[str, Any] = {"Content-Type": media_type, **_lock_headers(locked_until)}
        if sha256 is not None:
            headers[DIGEST_HEADER] = sha256
        with translated(f"beginning to store {key}", self._address):
            return self._client._create_multipart_upload(self._bucket, key, headers)

    def part(self, key: str, upload: str, number: int, data: bytes) -> Part:
        """Upload one part; the store compares its MD5."""
        with translated(f"storing part {number} of {key}", self._address):
            etag = self._client._upload_part(
                self._bucket, key, data, {"Content-MD5": _md5(data)}, upload, number
            )
        return Part(number, etag)

    def complete(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Make one object of the parts. ``NoSuchUpload`` if that was done before, or given up."""
        with translated(f"completing {key}", self._address):
            self._client._complete_multipart_upload(self._bucket, key, upload, list(parts))

    def abort(self, key: str, upload: str) -> None:
        """Have the store forget the parts; what is gone already is success."""
        try:
            with translated(f"giving up {key}", self._address):
                self._client._abort_multipart_upload(self._bucket, key, upload)
        except Said as exc:
            if exc.code != "NoSuchUpload":
                raise

    def uploads(self, prefix: str) -> list[tuple[str, str, datetime | None]]:
        """Uploads begun and not completed: key, id, when begun. At most 1,000."""
        try:
            with translated("listing unfinished uploads", self._address):
                found = self._client._list_multipart_uploads(self._bucket, prefix=prefix)
        except Said as exc:
            if exc.code in ("NoSuchUpload", "NotImplemented"):  # how rclone says that there is none
                return []
            raise
        return [
            (one.object_name, one.upload_id, one.initiated_time)
            for one in found.uploads
            if one.object_name and one.upload_id
        ]

    def open(
        self, key: str, start: int, end: int | None, etag: str | None, version: str | None = None
    ) -> BaseHTTPResponse:
        """Bytes ``start`` to ``end`` (exclusive), not read yet; with ``etag`` only if the object is still that one."""
        headers: dict[str, Any] = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if etag:
            headers["If-Match"] = f'"{etag}"'
        with translated(f"reading {key}", self._address):
            return self._client.get_object(self._bucket, key, request_headers=headers, version_id=version)

    def read(self, key: str, response: BaseHTTPResponse, size: int) -> bytes:
        """The next bytes of an opened object; ``b""`` only at its end."""
        with translated(f"reading {key}", self._address):
            return response.read(size, decode_content=False)

    def keys(self, prefix: str) -> list[str]:
        """All keys with that beginning, however many pages they fill."""
        with translated("listing", self._address):
            found = self._client.list_objects(self._bucket, prefix=prefix or None, recursive=True)
            return [one.object_name for one in found if one.object_name]

    def delete(self, key: str) -> None:
        """Remove every version of the object: on a versioned bucket a plain delete only hides it. Of versions of which one is
        locked as many stay as come after it."""
        for version in self._versions(key):
            self.remove(key, version)

    def remove(self, key: str, version: str | None) -> None:
        """Remove one version, or what a store without versions has. A refusal that is the lock's says so: code ``Locked``."""
        try:
            with translated(f"deleting {key}", self._address):
                self._client.remove_object(self._bucket, key, version_id=version or UNVERSIONED)
        except Said as exc:
            until = self._held_until(key, version)
            if until is None:
                raise
            raise Said(
                f"deleting {key} at {self._address.place}: it is locked there until {until.isoformat()}",
                "Locked",
            ) from exc

    def _held_until(self, key: str, version: str | None) -> datetime | None:
        try:
            found = self.head(key, version)
        except Said:
            return None
        return None if found is None else found.held_until

    def retain(self, key: str, version: str | None, until: datetime) -> None:
        """Lock a version until then. Never to be asked of a store that was not tried: one that does not know the call takes
        its words for the object's new bytes and says that all is well."""
        with translated(f"locking {key}", self._address):
            self._client.set_object_retention(
                self._bucket, key, Retention(COMPLIANCE, until), version_id=version
            )

    def content(self, key: str, version: str | None) -> bytes | None:
        """All bytes of a small object, or ``None`` if it is not there."""
        try:
            with translated(f"reading {key}", self._address):
                answer = self._client.get_object(self._bucket, key, version_id=version)
        except Said as exc:
            if exc.code in ("NoSuchKey", "NoSuchVersion"):
                return None
            raise
        try:
            with translated(f"reading {key}", self._address):
                return answer.read()
        finally:
            answer.close()

    def pages(self, prefix: str) -> Iterator[list[ObjectVersion]]:
        """Everything under keys that begin so, hidden versions and marks of deletion included, in pages, by key."""
        marker: tuple[str | None, str | None] = (None, None)
        going = True
        while going:
            try:
                with translated("listing versions", self._address):
                    found, going, *marker_found = self._versions_after(prefix, marker)
            except Said as exc:
                if marker != (None, None) or exc.code not in ("NotImplemented", "MethodNotAllowed"):
                    raise
                yield from self._unversioned(prefix)
                return
            marker = (marker_found[0], marker_found[1])
            if found:
                # The answer has marks of deletion after all versions; sorting keeps the order of those of one key.
                yield sorted((_listed(one) for one in found), key=lambda one: one.key)

    def _versions_after(
        self, prefix: str, marker: tuple[str | None, str | None]
    ) -> tuple[list[Any], bool, str | None, str | None]:
        """One answer's versions, whether there are more, and after what. The SDK's own listing flattens its answers, so that
        nobody could tell where one ends."""
        key, version = marker
        words: DictType = {"versions": "", "delimiter": "", "max-keys": str(LISTED_AT_ONCE), "prefix": prefix}
        if key:
            words["key-marker"] = key
        if version:
            words["version-id-marker"] = version
        answer = self._client._execute("GET", self._bucket, query_params=words)
        return parse_list_objects(answer)

    def _unversioned(self, prefix: str) -> Iterator[list[ObjectVersion]]:
        with translated("listing", self._address):
            found = self._client.list_objects(self._bucket, prefix=prefix or None, recursive=True)
        while True:
            with translated("listing", self._address):
                page = [_listed(one) for one in islice(found, LISTED_AT_ONCE)]
            if not page:
                return
            yield page

    def _versions(self, key: str) -> list[str | None]:
        try:
            with translated(f"listing the versions of {key}", self._address):
                found = self._client.list_objects(
                    self._bucket, prefix=key, recursive=True, include_version=True
                )
                return [one.version_id for one in found if one.object_name == key]
        except Said as exc:
            if exc.code not in ("NotImplemented", "MethodNotAllowed"):
                raise
            return [None]  # a store that knows no versions


def _listed(one: Any) -> ObjectVersion:
    return ObjectVersion(
        key=one.object_name or "",
        version=None if one.version_id in ("", UNVERSIONED) else one.version_id,
        bytes=one.size or 0,
        stored_at=one.last_modified,
        newest=one.version_id is None or str(one.is_latest).lower() == "true",
        hides=bool(one.is_delete_marker),
    )


def _lock_headers(until: datetime | None) -> dict[str, str]:
    if until is None:
        return {}
    return {LOCK_MODE: COMPLIANCE, LOCK_UNTIL: f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}


def _time(text: str | None) -> datetime | None:
    """An instant as stores write it, down to the second."""
    found = _TIME.fullmatch(text or "")
    return None if found is None else datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
