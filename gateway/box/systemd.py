"""What systemd is told: ready, ending, and while a press would be committed that the watchdog need not bark (sd_notify(3)).

Without systemd (no ``NOTIFY_SOCKET``) nothing is sent. What cannot be sent is logged once and ends nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

import structlog

from gateway.ports.clock import Clock

log = structlog.get_logger(__name__)

PARTS = 4  # of the watchdog's time: so often it is told, so that a slow moment is not yet an end


class Systemd:
    """The service manager that started this process, if one did."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes what is meant for this process out of the environment, so that no child speaks in its name."""
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        mine = not pid or pid == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and mine else 0.0
        self._failed = False

    def ready(self) -> None:
        """The start is over: presses are committed, or the broker is not reached and will be."""
        self._send("READY=1")

    def ending(self) -> None:
        self._send("STOPPING=1")

    async def watch(self, clock: Clock, commits: Callable[[], bool]) -> None:
        """Tell the watchdog that all is well for as long as ``commits`` says that a press would be committed.

        It runs on the loop that presses come by, so a loop that hangs is silent too. A broker that is away is no cause: a
        new start would not bring it back, and would cost the pictures in the rings.
        """
        if not self._address or not self.watchdog_s:
            return
        said = True
        while True:
            if commits():
                self._send("WATCHDOG=1")
            elif said:
                log.error(
                    "watchdog.silent", cause="no commit comes through", restarted_after_s=self.watchdog_s
                )
            said = commits()
            await clock.sleep(self.watchdog_s / PARTS)

    def _send(self, word: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(word.encode(), self._address)
        except OSError as exc:
            if not self._failed:
                log.warning("systemd.not_told", word=word, cause=exc.strerror)
            self._failed = True
