"""The limits of the HTTP front, each with where it comes from. Bytes, seconds and connections."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

#: Longest request line and headers together; nginx and Apache take 8 KiB a header, a signed link with a long key is below 2 KiB.
HEAD_BYTES = 16 * 1024
BODY_BYTES = (
    128 * 1024
)  # of a body with its chunk headers; what the body itself may be, 64 KiB, is the face's limit
BODY_CHUNKS = 512  # 64 KiB in chunks of 128 bytes; each costs a call
BLANK_BYTES = 1024  # blank lines between two requests, which a parser has to skip
PIECE_BYTES = 2 * 1024  # parsed in one turn of the loop, at most a millisecond of the processor

HEAD_WITHIN_S = 10.0  # from the connection, or a request's first byte, to the end of its head
BODY_WITHIN_S = 20.0  # from there to the end of its body
IDLE_S = 15.0  # between two requests; browsers open a new connection without a word
HANDSHAKE_WITHIN_S = 10.0
STALLED_S = 60.0  # a reader has to take …
STALLED_BYTES = 16 * 1024  # … so much in that time, else it is cut off; 2 kbit/s
ENDING_S = 1.0  # what is being answered at the end of the process

MOST_CONNECTIONS = (
    512  # in all; below 1,024 so that no descriptor is beyond what select() takes (the MQTT client's)
)
MOST_FROM_ONE = 128  # from one source: a proxy on this box is one, and a wall of pages some 50
#: Descriptors kept free for database, broker, centre, cameras, store and files, whoever calls.
RESERVED_DESCRIPTORS = 256
ENOUGH_DESCRIPTORS = RESERVED_DESCRIPTORS + MOST_CONNECTIONS + 256
RAISED_TO = 65_536  # more is never of use here

ADMITTED_A_SECOND = (
    60.0  # requests carried out, from one source; a wall of 16 live pictures asks for 40 a second
)
ADMITTED_IN_ALL = 150.0  # of those with a right; those without one have turns of their own
STRANGERS_IN_ALL = 80.0
#: Of the loop's time, for one source's requests and for all together; what a request costs is measured (`costs.py`).
SHARE_OF_ONE, SHARE_OF_ALL = 0.15, 0.25
STRANGERS_SHARE = 0.1
ADMITTED_IN_A_BURST_S = 0.5  # what was not used of the last half second may be used at once
REFUSED_A_SECOND = 50.0  # answers to a source on the brake: its next request waits for its turn
REFUSED_IN_ALL = 150.0
HANDSHAKES_A_SECOND = 40.0  # TLS handshakes begun for one source: a millisecond of the processor each
HANDSHAKES_IN_ALL = 80.0
TURN_WITHIN_S = 5.0  # a request whose turn is later than this is told to come again


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many file descriptors the process may have."""

    limit: int

    @property
    def connections(self) -> int:
        """How many connections are accepted: what the reserve leaves, at least a few."""
        return max(16, min(MOST_CONNECTIONS, self.limit - RESERVED_DESCRIPTORS))

    @property
    def cause(self) -> str:
        """What is wrong with the limit; empty if nothing is."""
        if self.limit >= ENOUGH_DESCRIPTORS:
            return ""
        return (
            f"the process may open only {self.limit} files (RLIMIT_NOFILE), less than the {ENOUGH_DESCRIPTORS} it needs: at most "
            f"{self.connections} connections are accepted; set LimitNOFILE={RAISED_TO} in the service's unit"
        )

    def used(self) -> int:
        """How many are open now."""
        return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def raise_descriptors() -> Descriptors:
    """Raise the soft limit as far as the hard one allows, and say what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RAISED_TO if hard == resource.RLIM_INFINITY else min(hard, RAISED_TO)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return Descriptors(RAISED_TO if soft == resource.RLIM_INFINITY else soft)
