"""Notices that a camera's password was corrected where the site file says it is, so that nobody has to wait out a pause for it.

After a refused password a camera is left alone for ten minutes; that counts for the credentials that were refused. A file with
another password in it is another password, and is tried at once. What stands in the site file itself, or in the environment, is
read at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from drivers.cameras.spec import CameraSpec
from gateway.ports.clock import Clock

LOOK_EVERY_S = 5.0
"""How often the files of cameras that do not work are read; they are small, and few."""

log = logging.getLogger(__name__)


class Corrections:
    """Looks after the cameras that ``ailing`` names; ``corrected`` is told the specification with the new password."""

    def __init__(
        self,
        clock: Clock,
        ailing: Callable[[], Iterable[CameraSpec]],
        corrected: Callable[[CameraSpec], None],
    ) -> None:
        self._clock = clock
        self._ailing = ailing
        self._corrected = corrected

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            for spec in list(self._ailing()):
                if spec.reread_password is None:
                    continue
                password = await asyncio.to_thread(spec.reread_password)
                corrected = _with_password(spec, password) if password is not None else spec
                if corrected != spec:
                    log.info("camera %s: another password is in its file; it is tried now", spec.id)
                    self._corrected(corrected)


def _with_password(spec: CameraSpec, password: str) -> CameraSpec:
    if spec.onvif is not None:
        return replace(spec, onvif=replace(spec.onvif, password=password))
    assert spec.stream is not None
    return replace(spec, stream=replace(spec.stream, password=password))
