"""This machine: the places where things are kept, the address of the HTTP face, the clock."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from config.settings import Settings
from gateway.app.commands.probe.table import Line, Result, Tell
from gateway.app.neighbours import object_store
from gateway.box.clock import SystemClock

OLDEST_SENSIBLE = datetime(
    2026, 1, 1, tzinfo=UTC
)  # this program was written later: an earlier clock is wrong
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # struct timex is 208 on 64-bit Linux; the rest is room


LOCK = "lock 存储锁定"
NOT_LOCKED = "whoever has the store's keys can delete what is kept there before its period is over"


async def probe_objects(settings: Settings, tell: Tell) -> None:
    what, folder = "objects 证据存储", settings.objects_dir
    if folder is not None and not folder.is_dir():
        tell(_to_be_made(what, folder))
        return
    store = object_store(settings, SystemClock())
    try:
        remark = await store.check()
        proof = await store.prove_lock()
    finally:
        await store.stop()
    if folder is not None:
        words = f"{folder}: an object was written, synced and removed again; {proof.cause}"
        tell(Line(what, Result.OK, words, True))
        return
    where = settings.site.storage.objects
    done = f"{where}: an object was written" + (
        ", read back and removed again" if not remark else f" and read back; {remark}"
    )
    tell(Line(what, Result.OK, done, True))
    required = settings.site.storage.lock == "required"
    if not proof.holds:
        result = Result.FAIL if required else Result.WARN
        meaning = "nothing is stored there (storage.lock: required)" if required else NOT_LOCKED
        tell(Line(LOCK, result, f"{proof.cause}; {meaning}", required))
    elif proof.stuck:
        tell(Line(LOCK, Result.WARN, f"locked, and not deleted when the lock was over: {proof.stuck}"))
    else:
        tell(Line(LOCK, Result.OK, f"{where}: an object was locked for an hour, and deleting it was refused"))


def _to_be_made(what: str, folder: Path) -> Line:
    parent = existing(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return Line(what, Result.OK, f"{folder} is made at the first start; {parent} can be written", True)
    detail = f"{folder} cannot be made: {parent} is not a folder this user can write; change its owner"
    return Line(what, Result.FAIL, detail, True)


def existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that is there."""
    return next(p for p in (path, *path.parents) if p.exists())


async def probe_database(settings: Settings, tell: Tell) -> None:
    what, file = "database 数据库", settings.database_file
    if file is None:
        tell(Line(what, Result.FAIL, "this version keeps its database in sqlite: only", True))
    elif not file.parent.is_dir():
        tell(_to_be_made(what, file.parent))
    elif os.access(file if file.exists() else file.parent, os.W_OK) and os.access(file.parent, os.W_OK):
        state = "is there and" if file.exists() else "is made at the first start;"
        tell(Line(what, Result.OK, f"{file} {state} can be written (it was not opened)", True))
    else:
        detail = f"{file} cannot be written by this user; change its owner, or run as the gateway's user"
        tell(Line(what, Result.FAIL, detail, True))
    place = existing(settings.data_dir)
    free_gb, reserve_gb = shutil.disk_usage(place).free / 1e9, settings.site.storage.reserve_gb
    shown = f"{free_gb:.1f} GB free in {place}, {reserve_gb:g} GB of it kept for alarm evidence"
    if free_gb < reserve_gb:
        tell(Line("disk 磁盘", Result.WARN, f"{shown} (storage.reserve_gb): make room"))
    else:
        tell(Line("disk 磁盘", Result.OK, shown))


async def probe_http(settings: Settings, tell: Tell) -> None:
    host, port = settings.site.http.address
    what, where = f"http {settings.site.http.listen}", f"{host}:{port}"
    owner = _lock_owner(settings.data_dir / "lock")
    running = "" if owner is None else f"a gateway runs on this data (process {owner})"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                detail = f"{where} cannot be had: {exc.strerror}; choose another http.listen"
                tell(Line(what, Result.FAIL, detail, True))
                return
        else:
            tell(Line(what, Result.OK, f"free{'; ' + running if running else ''}", True))
            return
    scheme = "https" if settings.site.http.tls else "http"
    shown = f"[{host}]" if ":" in host else host
    # Over https it may ask for a certificate we do not have; how its own holds is a line of its own.
    healthy = scheme == "https" or await asyncio.to_thread(_answers, f"http://{shown}:{port}/healthz")
    if running and healthy:
        tell(Line(what, Result.OK, f"in use, and {running}", True))
    else:
        detail = f"{where} is taken by another program{'; ' + running if running else ''}: end it, or choose another http.listen"
        tell(Line(what, Result.FAIL, detail, True))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _lock_owner(lock: Path) -> int | None:
    """The process that holds the lock, by what the kernel tells: to try the lock would be to take it."""
    try:
        inode = lock.stat().st_ino
        held = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return None
    for line in held:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4])
    return None


async def probe_clock(tell: Tell) -> None:
    what, now = "clock 时钟", SystemClock().now()
    shown = now.astimezone(ZoneInfo("Asia/Shanghai")).isoformat(timespec="seconds")
    if now < OLDEST_SENSIBLE:
        detail = f"{shown} is before this program was made: set the clock, or alarms carry a wrong time"
        tell(Line(what, Result.FAIL, detail))
    elif _synchronised() is False:
        detail = (
            f"{shown}, and nothing keeps it right (not synchronised): install chrony or systemd-timesyncd"
        )
        tell(Line(what, Result.WARN, detail))
    else:
        tell(Line(what, Result.OK, shown))


def _synchronised() -> bool | None:
    """Whether the kernel's clock is kept right by NTP; ``None`` where the system does not tell."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # modes = 0: only asks
    return None if state < 0 else state != _TIME_ERROR
