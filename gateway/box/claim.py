"""Claiming: who works on a data folder. One at a time does, by a lock the kernel holds, which dies with its process.

The gateway holds its claim for as long as it runs. ``fsck`` claims the folder for each repair alone, a moment at a time, so that
a gateway which starts meanwhile waits for that one and not for hours of reading: an alarm may come at any time.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.domain.errors import Refused
from gateway.ports.clock import Clock

FILE = "lock"
GATEWAY, REPAIR = "gateway", "repair"
REPAIR_MOST_S = 10.0  # what a repair may take while it holds the folder
UNKNOWN_FOR_S = 0.3  # a claim is taken before its holder has written who it is
LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class Claim:
    """The folder is this process's until :meth:`release`."""

    _handle: int | None

    def release(self) -> None:
        """Let it go; twice is harmless."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def claim(data_dir: Path, who: str) -> Claim | None:
    """Claim the folder for :data:`GATEWAY` or a :data:`REPAIR`; ``None`` while somebody else works on it."""
    handle = _opened(data_dir, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    with suppress(OSError):  # on a full disk nobody is named, and the claim holds all the same
        os.ftruncate(handle, 0)
        os.write(handle, who.encode())
    return Claim(handle)


async def claim_for_gateway(data_dir: Path, clock: Clock) -> Claim:
    """Claim the folder, after a repair if one is under way. Raises ``Refused`` if another gateway runs there."""
    began_s = clock.monotonic()
    while (mine := claim(data_dir, GATEWAY)) is None:
        waited_s = clock.monotonic() - began_s
        repaired = _holder(data_dir) == REPAIR
        if waited_s >= (REPAIR_MOST_S + UNKNOWN_FOR_S if repaired else UNKNOWN_FOR_S):
            raise Refused(f"another gateway runs on {data_dir}; stop it first")
        await clock.sleep(LOOK_EVERY_S)
    return mine


def is_claimed(data_dir: Path) -> bool:
    """Whether somebody works on the folder now; changes nothing in it."""
    if not data_dir.exists():
        return False
    handle = _opened(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _holder(data_dir: Path) -> str:
    try:
        return (data_dir / FILE).read_text("utf-8", "replace")
    except OSError:
        return ""


def _opened(data_dir: Path, flags: int) -> int:
    try:
        return os.open(data_dir / FILE, flags, 0o644)
    except PermissionError as exc:
        if (data_dir / FILE).exists():
            why = f"{data_dir / FILE} is another user's: run this as the user the gateway runs as"
        else:
            why = (
                f"{data_dir} may not be written by this user: give it to the gateway's user (chown), or name another folder "
                "with --data-dir"
            )
        raise Refused(why) from exc
    except OSError:
        # A folder in its place, no room for it, a disk that is read-only by now: the folder itself can be locked as well.
        try:
            return os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            raise Refused(f"{data_dir} cannot be claimed: {exc.strerror or exc}") from exc
