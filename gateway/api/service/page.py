"""The pages and their static files: the bare player and the recordings. Nothing in them comes from anywhere but this gateway."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.api.descriptions import open_to_all
from gateway.api.problems import Problem
from gateway.domain.plan import Camera, Site

router = APIRouter(tags=["live"])

_HERE = Path(__file__).parents[1] / "static"
_SCRIPT = "text/javascript; charset=utf-8"
_SERVED = {
    "player.js": _SCRIPT,
    "player.css": "text/css; charset=utf-8",
    "recordings.js": _SCRIPT,
    "recordings-asking.js": _SCRIPT,
    "recordings-exporting.js": _SCRIPT,
    "recordings-playing.js": _SCRIPT,
    "recordings-strips.js": _SCRIPT,
    "recordings-words.js": _SCRIPT,
    "recordings.css": "text/css; charset=utf-8",
    "hls.light.min.js": _SCRIPT,
    "hls.LICENSE.txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
#: What a person is told who opened a link that does not work.
_WORDS = {
    "no-token": ("需要授权链接", "A signed link is needed to see this."),
    "wrong-role": ("无权观看", "You may not see this."),
    "altered-link": (
        "链接不完整或被改动，请使用原始链接",
        "The link is incomplete or was altered; use it exactly as received.",
    ),
    "link-expired": ("链接已过期，请向报警平台索取新链接", "The link has expired; ask for a fresh one."),
    "link-revoked": ("警情已结束，链接已失效", "The alarm is closed; the link has been revoked."),
    "not-found": ("没有这台摄像机", "There is no such camera."),
}


@cache
def _file(name: str) -> bytes:
    return (_HERE / name).read_bytes()


def _template(name: str) -> Template:
    return Template(_file(name).decode())


@router.get("/static/{name}", summary="A file of the pages", response_class=Response, **open_to_all(404))
async def static(name: str) -> Response:
    if name not in _SERVED:
        raise Problem("not-found")
    # The recordings page's files belong together: none of them may be older than the others after an update.
    kept = "no-cache" if name.startswith("recordings") else "public, max-age=3600"
    headers = {"Content-Type": _SERVED[name], "Cache-Control": kept}
    return Response(_file(name), headers=headers)


@router.get("/recordings", summary="The recordings page", response_class=HTMLResponse, **open_to_all())
async def recordings_page(request: Request) -> Response:
    """A form, the same for everybody: who signs in on it with a token is shown what its role allows. In Chinese, or in English
    where the browser prefers that."""
    text = _template("recordings.html").substitute(lang=_language(request.headers.get("accept-language", "")))
    response = _html(text, 200)
    response.headers["Vary"] = "Accept-Language"
    return response


def _language(accepted: str) -> str:
    """Of the languages a browser accepts (RFC 9110 §12.5.4) the first, by weight, that the page is written in."""
    weighed: list[tuple[float, str]] = []
    for each in accepted.lower().split(","):
        tag, _, weight = each.strip().partition(";q=")
        try:
            weighed.append((-float(weight or 1), tag))
        except ValueError:
            continue
    for _, tag in sorted(weighed, key=lambda one: one[0]):
        if tag.startswith(("zh", "en")):
            return "zh-CN" if tag.startswith("zh") else "en"
    return "zh-CN"


def player_page(site: Site, camera: Camera, playlist: str) -> Response:
    """The page for one camera; ``playlist`` is its address, relative to the page's."""
    text = _template("player.html").substitute(
        school=escape(site.name),
        camera=escape(camera.name),
        timezone=escape(site.timezone),
        playlist=escape(playlist),
    )
    return _html(text, 200)


def error_page(problem: Problem) -> Response:
    """What went wrong, in words for the person who opened the link."""
    chinese, english = _WORDS.get(
        problem.kind, ("暂时无法观看，请稍后再试", "Not available now; try again later.")
    )
    text = _template("problem.html").substitute(chinese=escape(chinese), english=escape(english))
    response = _html(text, problem.status)
    response.headers.update(problem.headers)
    return response


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, who cannot read a problem document."""
    return "text/html" in request.headers.get("accept", "")


def _html(text: str, status: int) -> Response:
    return HTMLResponse(text, status, {"Content-Security-Policy": _POLICY, "Content-Language": "zh-CN, en"})
