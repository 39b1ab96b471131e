"""Where a camera's streams are, in the words in which the camera process takes it."""

from __future__ import annotations

from drivers.cameras.channel import Message
from drivers.cameras.parent.addresses import Found
from drivers.cameras.spec import CameraSpec, OnvifAddress, StreamAddress


def at_first(spec: CameraSpec) -> Message:
    """Before anything was found out."""
    if spec.stream is not None:
        return by_stream(spec.stream)
    return not_reached("asking the camera by ONVIF where its stream is")


def not_reached(cause: str) -> Message:
    """Nobody knows where."""
    return {"address": None, "cause": cause, "no_sub": "where its second stream is is not known yet"}


def by_stream(stream: StreamAddress) -> Message:
    """Where the site file says."""
    login = {"username": stream.username, "password": stream.password}
    return {
        "address": {"url": stream.url, **login},
        "live": {"url": stream.live_url, **login} if stream.live_url else None,
        "sub": {"url": stream.sub_url, **login} if stream.sub_url else None,
        "no_sub": "the site file names no second stream of it (stream.sub_url)",
    }


def by_onvif(onvif: OnvifAddress, found: Found) -> Message:
    """Where the camera says."""
    login = {"username": onvif.username, "password": onvif.password}
    return {
        "address": {"url": found.stream_url, **login},
        "live": {"url": found.live_url, **login} if found.live_url else None,
        "sub": {"url": found.sub_url, **login} if found.sub_url else None,
        "no_sub": "it has no profile of a smaller picture in H.264 or H.265 (ONVIF): set one up in the camera",
    }
