"""``python -m benchmarks``: every benchmark, one after the other, with the machine it ran on."""

from __future__ import annotations

import os
import platform
import sys

from benchmarks import at_rest, evidence, press_to_alert


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    for module in (press_to_alert, evidence, at_rest):
        print(f"\n== {module.__name__} (load before: {', '.join(f'{x:.2f}' for x in os.getloadavg())})")
        sys.stdout.flush()
        module.main()


if __name__ == "__main__":
    main()
