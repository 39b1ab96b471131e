"""``python -m benchmarks``: every benchmark, one after the other, with the machine it ran on."""

from __future__ import annotations

import os
import platform
import sys

from benchmarks import (
    assembly,
    at_rest,
    coverage,
    evidence,
    many_alarms,
    press_to_alert,
    recording,
    retention_sweep,
)


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    for module in (
        press_to_alert,
        evidence,
        many_alarms,
        at_rest,
        recording,
        retention_sweep,
        coverage,
        assembly,
    ):
        print(f"\n== {module.__name__} (load before: {', '.join(f'{x:.2f}' for x in os.getloadavg())})")
        sys.stdout.flush()
        module.main()


if __name__ == "__main__":
    main()
