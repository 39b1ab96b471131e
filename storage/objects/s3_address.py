"""Where an S3 store is, and who we are to it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """``endpoint`` is host and port; ``tls`` is given for https and ``None`` for http.

    ``prefix`` is the beginning of all keys that are ours (``{site}/``): several schools may share a bucket, and what is
    cleaned up is only ever our own. ``region`` is asked of the store where it is ``None``. ``connect_s`` is allowed for
    connecting, ``progress_s`` without a byte going either way; there is no limit for the whole of a large put.
    """

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str | None = None
    tls: ssl.SSLContext | None = None
    prefix: str = ""
    connect_s: float = 3.0
    progress_s: float = 30.0

    @property
    def url(self) -> str:
        """The endpoint as other tools take it."""
        return f"{'http' if self.tls is None else 'https'}://{self.endpoint}"

    @property
    def place(self) -> str:
        """Endpoint and bucket, as a person reads them."""
        return f"{self.url}/{self.bucket}"
