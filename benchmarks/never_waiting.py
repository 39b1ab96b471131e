"""The gateway with a sweep that waits for no alarm, as ``python -m benchmarks.never_waiting run …``: what waiting is for."""

from __future__ import annotations

import sys
from datetime import timedelta

from gateway.app.commands.main import main
from gateway.recording import deletion

if __name__ == "__main__":
    deletion.ALARM_FRESH = timedelta(0)
    sys.exit(main())
