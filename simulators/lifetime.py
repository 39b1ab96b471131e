"""How long a simulator command lives: until a signal, or until the process that started it is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import threading


def stop_asked(*, with_parent: bool) -> asyncio.Event:
    """Return an event that is set at SIGTERM or SIGINT, and with `with_parent` when standard input is closed.

    Call it in the running loop before anything is printed or opened: a caller may end the process as soon as it
    has read the first line. (A parent that is killed cannot say goodbye, but the kernel closes its pipe.)
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if with_parent:
        # A thread, because standard input may be a terminal or /dev/null, which a selector does not take; a
        # daemon, because a read of a pipe cannot be called off.
        threading.Thread(target=_await_end_of_input, args=(loop, stopped), daemon=True).start()
    return stopped


def _await_end_of_input(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stopped.set)
