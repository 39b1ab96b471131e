"""RTSP requests and responses as bytes, without a socket (RFC 2326)."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_HEADER_BYTES = 16_384
_MOST_BODY_BYTES = 65_536

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    454: "Session Not Found",
    455: "Method Not Valid In This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    505: "RTSP Version Not Supported",
}


class MalformedRequest(ValueError):
    """What came is not RTSP; the connection cannot be read any further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    url: str
    version: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleaved:
    """One binary packet from the client, as a rule an RTCP receiver report."""

    channel: int
    data: bytes


@dataclass(slots=True)
class RequestReader:
    """Turns whatever pieces arrive into requests and packets."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Request | Interleaved]:
        """Return what is complete now; raises `MalformedRequest`."""
        self._buffer += data
        complete: list[Request | Interleaved] = []
        while (one := self._next()) is not None:
            complete.append(one)
        return complete

    def _next(self) -> Request | Interleaved | None:
        buffer = self._buffer
        while buffer[:2] == b"\r\n":
            del buffer[:2]
        if not buffer:
            return None
        if buffer[0] == 0x24:
            if len(buffer) < 4:
                return None
            end = 4 + int.from_bytes(buffer[2:4], "big")
            if len(buffer) < end:
                return None
            packet = Interleaved(channel=buffer[1], data=bytes(buffer[4:end]))
            del buffer[:end]
            return packet
        return self._next_request()

    def _next_request(self) -> Request | None:
        buffer = self._buffer
        head_end = buffer.find(b"\r\n\r\n", 0, _MOST_HEADER_BYTES)
        if head_end < 0:
            if len(buffer) >= _MOST_HEADER_BYTES:
                raise MalformedRequest(f"no end of headers within {_MOST_HEADER_BYTES} bytes")
            return None
        try:
            first, *lines = buffer[:head_end].decode("utf-8").split("\r\n")
            method, url, version = first.split(" ")
            headers = {}
            for line in lines:
                name, colon, value = line.partition(":")
                if not colon:
                    raise MalformedRequest(f"header line {line!r} has no colon")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", "0"))
        except MalformedRequest:
            raise
        except ValueError as error:
            raise MalformedRequest(
                f"cannot read {bytes(buffer[:80])!r}: expected METHOD URL RTSP/1.0"
            ) from error
        if not 0 <= length <= _MOST_BODY_BYTES:
            raise MalformedRequest(f"body of {length} bytes, expected at most {_MOST_BODY_BYTES}")
        end = head_end + 4 + length
        if len(buffer) < end:
            return None
        body = bytes(buffer[head_end + 4 : end])
        del buffer[:end]
        return Request(method=method, url=url, version=version, headers=headers, body=body)


def response(status: int, cseq: str, headers: dict[str, str] | None = None, body: str = "") -> bytes:
    """Return the bytes of a response."""
    lines = [f"RTSP/1.0 {status} {REASONS[status]}", f"CSeq: {cseq}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def interleaved_channels(transport: str) -> tuple[int, int] | None:
    """Choose the TCP interleaved offer of a Transport header; None if the client offers none.

    Without `interleaved=` the channels are 0 and 1. Raises `MalformedRequest` for channels that are no channels.
    """
    for offer in transport.split(","):
        protocol, *parameters = (part.strip() for part in offer.split(";"))
        if protocol.upper() != "RTP/AVP/TCP":
            continue
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.lower() == "interleaved":
                low, _, high = value.partition("-")
                try:
                    channels = (int(low), int(high) if high else int(low) + 1)
                except ValueError as error:
                    raise MalformedRequest(f"interleaved={value!r}: expected two channel numbers") from error
                if not all(0 <= channel <= 255 for channel in channels):
                    raise MalformedRequest(f"interleaved={value!r}: expected channels from 0 to 255")
                return channels
        return 0, 1
    return None
