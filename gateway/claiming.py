"""Claiming: who works on a data folder. One at a time does, by a lock the kernel holds, which dies with its process.

The gateway holds its claim for as long as it runs. ``fsck`` claims the folder for each repair alone, a moment at a time, so that
a gateway which starts meanwhile waits for that one and not for hours of reading: an alarm may come at any time.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.domain.errors import Refused
from gateway.ports import Clock

FILE = "lock"
GATEWAY, REPAIR = "gateway", "repair"
REPAIR_MOST_S = 10.0  # what a repair may take while it holds the folder
UNKNOWN_FOR_S = 0.3  # a claim is taken before its holder has written who it is
LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class Claim:
    """The folder is this process's until :meth:`release`."""

    _file: IO[str]

    def release(self) -> None:
        """Let it go; twice is harmless."""
        self._file.close()


def claim(data_dir: Path, who: str) -> Claim | None:
    """Claim the folder for :data:`GATEWAY` or a :data:`REPAIR`; ``None`` while somebody else works on it."""
    file = _opened(data_dir, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    file.truncate(0)
    file.write(who)
    file.flush()
    return Claim(file)


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
    if not (data_dir / FILE).exists():
        return False
    with _opened(data_dir, "r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _holder(data_dir: Path) -> str:
    return (data_dir / FILE).read_text("utf-8")


def _opened(data_dir: Path, mode: str) -> IO[str]:
    try:
        return (data_dir / FILE).open(mode, encoding="utf-8")
    except PermissionError as exc:
        raise Refused(
            f"{data_dir / FILE} is another user's: run this as the user the gateway runs as"
        ) from exc
