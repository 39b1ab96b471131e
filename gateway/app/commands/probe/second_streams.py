"""Streams that the site file names beside cameras' main ones, each looked at like a camera of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.site import Camera
from drivers.cameras.spec import CameraSpec
from gateway.app.neighbours import camera_spec


@dataclass(frozen=True, slots=True)
class Second:
    """``key`` is where the site file names it: ``sub_url``, ``live_url``."""

    camera: str
    key: str
    spec: CameraSpec

    @property
    def what(self) -> str:
        """Its line in the table."""
        return f"camera 摄像机 {self.camera} {self.key}"


def second_streams(cameras: Sequence[Camera]) -> list[Second]:
    """Those of all cameras; an address that is named twice is looked at once."""
    found: list[Second] = []
    for camera in cameras:
        spec = camera_spec(camera)
        if spec.stream is None:
            continue
        seen = {spec.stream.url}
        for key, url in (("sub_url", spec.stream.sub_url), ("live_url", spec.stream.live_url)):
            if url is not None and url not in seen:
                seen.add(url)
                stream = replace(spec.stream, url=url, sub_url=None, live_url=None)
                name = f"{camera.id}.{key}"  # no camera's id has a dot
                found.append(Second(camera.id, key, CameraSpec(id=name, stream=stream)))
    return found
