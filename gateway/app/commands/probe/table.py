"""The table that ``check --probe`` prints: one line a result, as it is known."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from config.settings import Settings
from gateway.app.commands.probe.second_streams import second_streams


class Result(StrEnum):
    """What a line of the table says."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. ``needed`` marks what an alarm depends on: its failure is the exit code's."""

    what: str
    result: Result
    detail: str
    needed: bool = False


Tell = Callable[[Line], None]


class Table:
    """Prints one line a result, aligned to the longest name there will be."""

    def __init__(self, settings: Settings, out: TextIO) -> None:
        site = settings.site
        names = ["centre 110 中心 (second path)", f"http {site.http.listen}"]
        names += [f"camera 摄像机 {camera.id}" for camera in site.cameras]
        names += [each.what for each in second_streams(site.cameras)]
        names += [f"liveness 触点 {point.id}" for point in site.points]  # the longest of a point's names
        names += [f"certificate 证书 {key}" for key in settings.certificate_files]
        self._width = max(_columns(name) for name in names)
        self._out = out
        self._lines: list[Line] = []
        self._print("what 项目", "result 结果", "detail 说明")

    def tell(self, line: Line) -> None:
        """A result is known."""
        self._lines.append(line)
        self._print(line.what, line.result, line.detail)

    def finish(self) -> int:
        """Print the sum and return the exit code."""
        count: Mapping[Result, int] = {r: sum(1 for line in self._lines if line.result is r) for r in Result}
        broken = [line.what for line in self._lines if line.needed and line.result is Result.FAIL]
        print(
            f"\n{count[Result.OK]} OK, {count[Result.WARN]} WARN, {count[Result.FAIL]} FAIL — "
            + (
                f"an alarm would suffer: {', '.join(broken)} 报警会受影响"
                if broken
                else "whatever an alarm needs answers 报警链路正常"
            ),
            file=self._out,
            flush=True,
        )
        return 1 if broken else 0

    def _print(self, what: str, result: str, detail: str) -> None:
        padded = what + " " * (self._width - _columns(what))
        shown = result + " " * (_columns("result 结果") - _columns(result))
        print(f"{padded}  {shown}  {detail}", file=self._out, flush=True)


def _columns(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
