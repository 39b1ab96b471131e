"""Odd values in every place of the interface: numbers no database holds, text no column takes, times off the calendar.

Whatever comes in, the answer is one that the description lists for that path, and never 500.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.http_face import CAMERA, EVERYONE, Face, on_face

BEYOND = 2**63  # SQLite's integers end below it
ODD_TEXT = (
    *("0", "-1", str(BEYOND - 1), str(BEYOND), str(-BEYOND - 1), str(2**64), "9" * 400, "9" * 5000, "1e400", "1_0"),
    *("NaN", "Infinity", "-0", "0x10", "٣", "true", "null", "[]", "{}"),
    *("\x00", "a\x00b", "\ufffe", "\U0001f514", "\u202e", "\r\nX: y", "'; DROP TABLE alarms; --", "%", "%00", "../..", " ", ""),
    *("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:60Z"),
    *("2026-02-30T00:00:00Z", "2026-03-02T24:00:00+08:00", "2026-03-02T10:15:07+99:99", "99999-01-01T00:00:00Z"),
    *("OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LmFsbV8x", "LTE2MjEzNTU5NjgwMDAwMDAwMDAuYWxtXzE", "MC4A", "Li4uLg", "===="),
)  # fmt: skip
#: Bytes that are no UTF-8, as an address carries them: a lone surrogate, an overlong slash, a cut sequence.
ODD_BYTES = ("%ED%A0%80", "%C0%AF", "%E4%B8", "%FF%FE", "%00")
ODD_JSON = (
    *("0", "-1", str(BEYOND), str(-BEYOND - 1), str(2**64), "1e400", "-1e400", "1e-400", "9" * 400, "9" * 5000, "0.1"),
    *("NaN", "Infinity", "-Infinity", "true", "null", "[]", "{}", '""', '" "', '"\\u0000"', '"a\\u0000b"'),
    *('"\\ud800"', '"\\udfff a"', '"\\ud83d"', '"\\uffff"', '"' + "长" * 3000 + '"', "[[" * 400 + "]]" * 400),
    *('"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"2200-01-01T00:00:00Z"', '"2026-03-02"'),
)  # fmt: skip
RIGHT_PATHS = {
    "alarm": "alm_1",
    "drill": "drl_1",
    "camera": CAMERA,
    "window": "wnd_1",
    "hold": "hld_1",
    "key": "a/b.jpg",
}
PERSON = {"name": "王警官", "unit": "市局指挥中心"}
SPAN = {"from": "2026-03-02T10:00:00+08:00", "to": "2026-03-02T10:10:00+08:00"}
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/replies": {"reply": "rejected", "operator": PERSON, "reason": "误报"},
    "/requests": {"request": "clip", "camera": CAMERA, **SPAN, "operator": PERSON, "reason": "核实"},
    "/notes": {"text": "误碰", "by": "李老师", "withdraw": True},
    "/api/v1/drills": {"point": "p-b1-301", "arm_s": 60},
    "/playback": {**SPAN, "by": PERSON, "reason": "核查"},
    "/api/v1/holds": {"camera": CAMERA, **SPAN, "by": PERSON, "reason": "案件", "review_at": "2026-05-02T10:00:00+08:00"},
    "/review": {"by": PERSON, "reason": "案件", "review_at": "2026-05-02T10:00:00+08:00"},
    "/release": {"by": PERSON, "reason": "结案"},
    "/clock": {"now": "2026-03-02T10:15:07+08:00", "by": PERSON, "reason": "对表"},
    "/retention/database": {"by": PERSON, "reason": "已知悉"},
    "/live/{camera}": {"name": "王警官"},
}  # fmt: skip


def operations(
    document: Mapping[str, Any], method: str
) -> Iterator[tuple[str, Mapping[str, Any], str | None]]:
    for path, methods in document["paths"].items():
        if method in methods:
            operation = methods[method]
            yield path, operation, next(iter(operation.get("x-roles", ())), None)


def filled(path: str, **changed: str) -> str:
    """The path with its parameters filled in: right ones, and those ``changed``, which are escaped already."""
    for name, value in {**RIGHT_PATHS, "name": "x", "suffix": "mp4", "span": "x", "year": "2026", "month": "03", "day": "02",
                        **changed}.items():  # fmt: skip
        path = path.replace("{" + name + "}", value)
    return path


def replaced(body: Any, raw: str) -> Iterator[tuple[str, str]]:
    """Every document that has ``raw`` in place of one of its values, and itself in its place, with the place's name."""
    yield "body", raw
    for name, value in body.items():
        inner = replaced(value, raw) if isinstance(value, dict) else [(name, raw)]
        for where, text in inner:
            others = {k: v for k, v in body.items() if k != name}
            written = json.dumps(others)[1:-1]
            yield f"{name}/{where}", "{" + ", ".join(p for p in (written, f'"{name}": {text}') if p) + "}"


class Verdicts:
    """Collects the answers that are not as they should be."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.asked = 0

    def judge(self, what: str, answer: Any, operation: Mapping[str, Any]) -> None:
        self.asked += 1
        if str(answer.status) not in operation["responses"] or answer.status >= 500:
            self.wrong.append(f"{what}: {answer.status} {answer.body[:120]!r}")
        elif answer.status >= 400 and answer.headers.get("content-type") != "application/problem+json":
            self.wrong.append(f"{what}: {answer.status} as {answer.headers.get('content-type')}")

    def say(self) -> None:
        print(f"{self.asked} odd values asked")
        assert self.asked > 50
        assert not self.wrong, f"{len(self.wrong)} answers\n" + "\n".join(self.wrong[:40])


def told(value: str) -> str:
    return repr(value if len(value) < 40 else value[:20] + f"… ({len(value)})")


@on_face
async def test_odd_values_in_addresses(face: Face) -> None:
    """Every path and query parameter of every GET, with every odd value."""
    await face.add_alarm()
    document = (await face.ask("/openapi.json", role="inspector")).json
    verdicts = Verdicts()
    for path, operation, role in operations(document, "get"):
        parameters = operation.get("parameters", ())
        asked = [p["name"] for p in parameters if p["in"] == "query"]
        needed = {
            p["name"]: SPAN.get(p["name"], "1")
            for p in parameters
            if p["name"] in asked and p.get("required")
        }
        if path.endswith("/proof"):
            needed["line"] = "1"  # one of the two that are not required has to be there
        for parameter in parameters:
            for odd in (*map(quote, ODD_TEXT), *ODD_BYTES):
                name, place = parameter["name"], parameter["in"]
                if place == "path":
                    if odd in ("", "..") or "/" in odd:
                        continue  # another path
                    address = filled(path, **{name: odd})
                    query = "&".join(f"{k}={quote(v)}" for k, v in needed.items())
                else:
                    address = filled(path)
                    query = "&".join(
                        [*(f"{k}={quote(v)}" for k, v in needed.items() if k != name), f"{name}={odd}"]
                    )
                answer = await face.ask(f"{address}?{query}", role=role, encoded=True)
                verdicts.judge(f"GET {path} {name}={told(odd)}", answer, operation)
    verdicts.say()


@pytest.mark.slow
@on_face
async def test_odd_values_in_bodies(face: Face) -> None:
    """Every value of every body, with every odd one in its place."""
    await face.add_alarm()
    document = (await face.ask("/openapi.json", role="inspector")).json
    verdicts, seen = Verdicts(), set()
    for path, operation, role in operations(document, "post"):
        found = [end for end in BODIES if path.endswith(end)]
        assert found, f"no body is known for {path}"
        seen.update(found)
        for raw in ODD_JSON:
            for where, text in replaced(BODIES[found[0]], raw):
                answer = await face.ask(
                    filled(path),
                    role=role,
                    method="POST",
                    data=text.encode(),
                    headers={"Content-Type": "application/json"},
                )
                verdicts.judge(f"POST {path} {where}={told(raw)}", answer, operation)
    assert seen == set(BODIES)
    verdicts.say()


@pytest.mark.parametrize(
    ("data", "content_type", "statuses"),
    [
        (b"", "application/json", {400, 422}),
        (b"\xff\xfe\x00", "application/json", {400}),
        ('{"reply": "长"}'.encode("gb18030"), "application/json", {400}),
        ('{"reply": "accepted"}'.encode("utf-16"), "application/json", {400, 422}),
        (b"{" * 5000, "application/json", {400, 422}),
        (b"[" * 60000, "application/json", {400, 422}),
        (b'{"reply": "accepted", "reply": "closed"}', "application/json", {422}),
        (b"reply=accepted", "application/x-www-form-urlencoded", {422}),
        (b"--x\r\n", "multipart/form-data; boundary=x", {400, 422}),
        (b"--x\r\n", "multipart/form-data", {400, 422}),
        (b"{}", "text/plain; charset=nonsense", {422}),
        (b"{}", "\xff", {422}),
        (b"9" * 6000, "application/json", {400, 422}),
    ],
)
@on_face
async def test_bodies_that_are_none(face: Face, data: bytes, content_type: str, statuses: set[int]) -> None:
    """No JSON, another character set, nesting without end, another type: refused as a problem on every path that takes a body."""
    await face.add_alarm()
    document = (await face.ask("/openapi.json", role="inspector")).json
    for path, operation, role in operations(document, "post"):
        answer = await face.ask(
            filled(path), role=role, method="POST", data=data, headers={"Content-Type": content_type}
        )
        assert answer.status in statuses, (path, answer.status, answer.body)
        assert str(answer.status) in operation["responses"], (path, answer.status)
        assert answer.problem in ("unreadable-body", "invalid")


@on_face
async def test_every_way_to_send_a_body_lists_what_may_come_of_it(face: Face) -> None:
    """400 (no JSON), 413 (too large) and 422 (not valid) stand at every path that takes a body."""
    document = (await face.ask("/openapi.json", role="inspector")).json
    for path, operation, _ in operations(document, "post"):
        assert {"400", "413", "422"} <= set(operation["responses"]), path


@on_face
async def test_odd_headers(face: Face) -> None:
    """Headers that the face reads itself, with what no client sends: an answer below 500 for each."""
    await face.add_alarm()
    item = await face.add_evidence(b"jpeg" * 10)
    for name, value in (
        ("Range", "bytes=" + "9" * 19 + "-"),
        ("Range", "bytes=-" + "9" * 19),
        ("Range", "bytes=0-" + "9" * 4000),
        ("Range", "bytes=٣-"),
        ("If-Range", "\xff"),
        ("Accept-Language", "zh;q=" + "9" * 500),
        ("Accept-Language", "en;q=nan, zh;q=inf"),
        ("Accept", "\xff" * 200),
        ("Authorization", "Bearer \ud83d".encode("utf-8", "surrogatepass").decode("latin-1")),
        ("Content-Length-Like", "x" * 4000),
        ("Host", "\xff"),
        ("Cookie", "=" * 1000),
    ):
        for path in (f"/media/{item.key}", "/recordings", f"/live/{CAMERA}", "/readyz", "/api/v1/site"):
            for role in (*EVERYONE, None):
                sent = {name: value}
                answer = await face.ask(path, role=None if name == "Authorization" else role, headers=sent)
                assert answer.status < 500 or answer.status == 503, (
                    name,
                    value,
                    path,
                    answer.status,
                    answer.body,
                )
