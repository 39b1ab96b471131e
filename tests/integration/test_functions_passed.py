"""The functions that a press and a still pass, recorded, are those that gateway/DESIGN.md lists."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.integration.test_gathering import yard
from tests.support.clock import run
from tests.support.door import door

ROOT = Path(__file__).resolve().parents[2]
ALARM = str(ROOT / "gateway" / "alarm")


def listed(story: str) -> list[tuple[str, str]]:
    """The list of DESIGN.md below the mark of that story, as (file, qualified name)."""
    text = (ROOT / "gateway" / "DESIGN.md").read_text()
    below = text.split(f"<!-- passed: {story} -->\n", 1)[1].split("\n\n", 1)[0]
    passed = re.findall(r"^- `(\S+)` `(\S+)`$", below, flags=re.MULTILINE)
    assert passed
    return passed


@contextmanager
def recorded(names: set[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """The first call of each of these functions, on the loop's thread and on the database's, in order."""
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ALARM):
            call = (Path(code.co_filename).name, code.co_qualname)
            if call in names and call not in calls:
                calls.append(call)

    threading.setprofile(note)  # threads that begin from here on: the database's among them
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_press_passes_the_functions_that_the_design_lists(tmp_path: Path) -> None:
    """One press through the real intake on SQLite, whose rehearsal is over before."""
    passed = listed("press")

    async def story() -> None:
        with recorded(set(passed)) as calls:
            async with door(tmp_path) as b:
                await b.clock.settle()
                calls.clear()
                await b.send()
                assert await b.presses() == [1]
                assert calls == passed

    run(story())


def test_a_still_passes_the_functions_that_the_design_lists(tmp_path: Path) -> None:
    """One camera's press still through the real gathering on SQLite and a spool on disk."""
    passed = listed("still")

    async def story() -> None:
        with recorded(set(passed)) as calls:
            async with yard(tmp_path) as y:
                calls.clear()
                await y.press(cameras=("cam-a",))
                assert (await y.items())[0].state.value == "stored"
                assert calls == passed

    run(story())
