"""The words a site file names as presses (`mqtt.press`): whether any hardware is known to say them. Pure text, no I/O.

A list of words that nobody says leaves its point deaf, and a device may say words of its own; so this warns and refuses nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from config.findings import Complaint
from config.site import Point

#: Words of the makes that are read, without which button they are of.
KNOWN = frozenset(
    {
        *("single", "double", "triple", "tripple", "quadruple", "quad", "quintuple", "penta", "many", "multiple"),
        *("hold", "held", "long", "short", "click", "press", "pressed", "push", "tap", "toggle", "recall", "shake"),
        *("down", "up", "on", "off", "release", "released", "button_down", "button_up", "initial_press"),
        *("clear", "inc_dec", "increment", "delayed", "inv", "s", "l", "ss", "sss", "sl", "ls", "btn_down", "btn_up"),
        *("contact", "open", "opened", "close", "closed", "state", "input", "event"),
        *("sos", "emergency", "panic", "fire", "duress", "medical", "police", "help", "alarm", "holdup", "robbery"),
    }
)  # fmt: skip
#: As near as a slip of the finger: `panick`, `emergancy`, `hodl`.
_NEAR = 0.75
_APART = re.compile(r"[_\-\s:]+")


def unsaid_words(points: Mapping[int, Point]) -> Iterator[Complaint]:
    """Words that look like a slip, and lists in which no word is known."""
    for index, point in points.items():
        if point.mqtt is None or not point.mqtt.press:
            continue
        unknown = {
            n: word for n, word in enumerate(point.mqtt.press) if not _is_known(word, point.mqtt.input)
        }
        is_whole_list = len(unknown) == len(point.mqtt.press)
        for n, word in unknown.items():
            near = difflib.get_close_matches(word.strip().lower(), sorted(KNOWN), n=1, cutoff=_NEAR)
            if near or is_whole_list:
                yield Complaint(
                    path=("points", index, "mqtt", "press", n),
                    found=f'"{word}"',
                    expected=near[0]
                    if near
                    else "a word that its hardware says: single, hold, emergency, panic, sos …",
                    advice=(
                        "no press is taken but in the words of this list; if the device does say so, press it and see that an "
                        "alarm is raised"
                    ),
                    blocking=False,
                )


def _is_known(word: str, input_: str | None) -> bool:
    said = word.strip().lower()
    return said == (input_ or "").lower() or said in KNOWN or any(p in KNOWN for p in _APART.split(said))
