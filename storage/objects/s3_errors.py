"""What an S3 store or the network says, as errors of the house, with what a technician can do about it.

Two answers only: *try again* (:class:`Unavailable`) and *a person must act* (:class:`Said`, which is a ``Refused``). Stores
differ in how they say no: some send XML under a content type the SDK does not take for XML, so the code is looked for in
the text as well.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

import urllib3.exceptions as net
from minio.error import InvalidResponseError, S3Error, ServerError

from gateway.domain.errors import Refused, Unavailable
from storage.objects.s3_address import S3Address

#: What to do about a code that a person must act on. ``{bucket}``, ``{place}``: see :func:`_refusal`.
ADVICE = {
    "NoSuchBucket": "there is no bucket {bucket} there; create it with object lock, which many stores let be chosen only then: "
    "`campus-gateway make-bucket --config SITE.yaml`, or `aws --endpoint-url {place} "
    "s3api create-bucket --bucket {bucket} --object-lock-enabled-for-bucket`, or correct storage.objects",
    "InvalidAccessKeyId": "the store does not know the key id; correct storage.access_key",
    "SignatureDoesNotMatch": "the secret does not belong to the key id; correct storage.secret_key",
    "AccessDenied": "the key may not do that; its policy must allow GetObject, PutObject, DeleteObject, "
    "DeleteObjectVersion, AbortMultipartUpload, ListBucket, ListBucketVersions, ListBucketMultipartUploads, "
    "GetBucketLocation, GetObjectVersion, GetObjectRetention and PutObjectRetention on bucket {bucket}",
    "AuthorizationHeaderMalformed": "the region is another one; set storage.region",
    "PermanentRedirect": "the bucket lies in another region; correct storage.objects or storage.region",
    "TemporaryRedirect": "the bucket lies elsewhere; correct storage.objects or storage.region",
    "InvalidBucketName": "{bucket} is no name of a bucket there; correct storage.objects",
}
#: What comes right by itself, or by what is not the store's to refuse: the evidence waits meanwhile.
LATER = {
    "RequestTimeTooSkewed": "the clocks differ too much: set this box's clock (chrony), or the store's",
    "QuotaExceeded": "the quota of bucket {bucket} is used up: raise it, or make room",
    "XMinioStorageFull": "the store is full: make room",
    "InsufficientStorage": "the store is full: make room",
    "SlowDown": "",
    "ServiceUnavailable": "",
    "InternalError": "",
    "OperationAborted": "",
    "ConditionalRequestConflict": "",
    "RequestTimeout": "",
    "BadDigest": "the bytes were altered on their way",
    "XAmzContentSHA256Mismatch": "the bytes were altered on their way",
    "IncompleteBody": "the bytes did not arrive whole",
}
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9]{1,60})\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]{1,200})")


class Said(Refused):
    """The store refuses. ``code`` is S3's, or ``HTTP 404`` and the like where it named none."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


@contextmanager
def translated(doing: str, address: S3Address) -> Iterator[None]:
    """Raise what happens inside as an error of the house, chained."""
    at = f"{doing} at {address.place}"
    try:
        yield
    except S3Error as exc:
        raise _answer(at, address, exc.code or "", exc.message or "", exc.response.status) from exc
    except InvalidResponseError as exc:
        raise _unread(at, address, exc) from exc
    except ServerError as exc:
        raise Unavailable(f"{at}: HTTP {exc.status_code}; the store has trouble of its own") from exc
    except (net.SSLError, ssl.SSLError) as exc:
        raise Unavailable(
            f"{at}: TLS fails: {_shortly(exc)}; check the store's certificate, its name, and storage.ca"
        ) from exc
    except (net.ConnectTimeoutError, net.NewConnectionError) as exc:
        raise Unavailable(
            f"{at}: cannot be reached ({_shortly(exc)}); is the store running, are address and port right?"
        ) from exc
    except (net.HTTPError, OSError) as exc:
        raise Unavailable(f"{at}: the connection failed: {_shortly(exc)}") from exc
    except (ValueError, TypeError, LookupError, AttributeError, ParseError) as exc:
        # What the SDK makes of an answer that is no S3 store's.
        raise Unavailable(f"{at}: what answers is not understood as S3: {_shortly(exc)}") from exc


def _answer(at: str, address: S3Address, code: str, message: str, status: int) -> Refused | Unavailable:
    if "request time" in message.lower() and "difference" in message.lower():
        code = "RequestTimeTooSkewed"  # some stores say it in words only
    said = f"{at}: {code or f'HTTP {status}'}" + (f" ({message.strip()})" if message.strip() else "")
    names = {"bucket": address.bucket, "place": address.url}
    if code in LATER or (code not in ADVICE and (status >= 500 or status in (408, 429)) and status != 501):
        advice = LATER.get(code, "").format(**names)
        return Unavailable(f"{said}; {advice}" if advice else said)
    advice = ADVICE.get(code, "").format(**names)
    return Said(f"{said}; {advice}" if advice else said, code or f"HTTP {status}")


def _unread(at: str, address: S3Address, exc: InvalidResponseError) -> Refused | Unavailable:
    text = str(exc)
    status = int(found.group(1)) if (found := re.search(r"Response code: (\d+)", text)) else 0
    code = _CODE.search(text)
    if code is not None:
        message = _MESSAGE.search(text)
        return _answer(at, address, code.group(1), message.group(1) if message else "", status)
    if status >= 500 or status in (408, 429):
        return Unavailable(
            f"{at}: HTTP {status}; the store, or what stands before it, has trouble of its own"
        )
    return Said(
        f"{at}: HTTP {status}, and not in the words of an S3 store; correct the address in storage.objects",
        f"HTTP {status}",
    )


def _shortly(exc: BaseException) -> str:
    """The innermost reason, without the libraries' names for their objects."""
    seen: BaseException = exc
    while True:
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__ or next((a for a in seen.args if isinstance(a, BaseException)), None)
        if inner is None:
            break
        seen = inner
    words = getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
    return re.sub(r"^<?[A-Za-z_.0-9]+\(.*?\)>?: |^HTTPS?Connection\w*\(.*?\): ", "", str(words))[:200]
