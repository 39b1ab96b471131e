"""The 110 centre: one signed message over each path that claims nothing, and a look at the place for evidence."""

from __future__ import annotations

import asyncio
import secrets

from config.settings import Settings
from drivers.contacts.formats import CODECS
from drivers.uplinks.webhook import WebhookPath
from gateway.app.commands.probe.table import Line, Result, Tell
from gateway.app.neighbours import centre_paths, media_push
from gateway.app.siteplan import compile_plan
from gateway.box.clock import SystemClock
from gateway.domain.envelope import Envelopes
from gateway.domain.links import LinkSigner
from gateway.domain.message import Answer, MessageType, Outcome, judge, strangers_page, understand
from gateway.domain.refusal import MEDIA, Place, in_words, place_of


async def probe_centre(settings: Settings, tell: Tell) -> None:
    clock = SystemClock()
    paths = centre_paths(settings, clock)
    await asyncio.gather(*(_path(settings, clock, path, tell) for path in paths), _media(settings, tell))


async def _path(settings: Settings, clock: SystemClock, path: WebhookPath, tell: Tell) -> None:
    what = f"centre 110 中心 ({path.name} path)"
    envelopes = Envelopes(
        site=compile_plan(settings.site, CODECS),
        links=LinkSigner(secrets.token_bytes(32), ""),
        media_link_s=1,
        live_link_s=1,
    )
    now = clock.now()
    # Never a heartbeat: beside a running gateway it would tell the centre that no alarm is open.
    said = envelopes.message(MessageType.LINK_PROBE, {"path": path.name}, at=now, now=now)
    await path.start()
    try:
        began = clock.monotonic()
        answer = await path.deliver(said.id, said.body)
        took_ms = (clock.monotonic() - began) * 1000
    finally:
        await path.stop()
    tell(_line(what, answer, place_of(path.name), took_ms))


def _line(what: str, answer: Answer, place: Place, took_ms: float) -> Line:
    """What an answer to the probe's message shows."""
    shown = f"{answer.status} {answer.detail} in {took_ms:.0f} ms"
    if judge(answer) is not Outcome.RECEIVED:
        words = in_words(answer, place)
        if answer.status in (400, 422, 501):
            words += "; or it does not know messages of the type link.probe, and has to answer 2xx to any"
        return Line(what, Result.FAIL, words, True)
    if page := strangers_page(answer, gave_json=False):
        detail = f"{shown}: {page}; check {place.address} and the network"
        return Line(what, Result.FAIL, detail, True)
    try:
        understand(answer)
    except ValueError as exc:
        return Line(what, Result.WARN, f"a signed message was received: {shown}; {exc}", True)
    return Line(what, Result.OK, f"a signed message was received: {shown}", True)


async def _media(settings: Settings, tell: Tell) -> None:
    """With ``media: push``: whether the place answers and takes the token. Nothing is put there: it would stay."""
    uplink = media_push(settings)
    if uplink is None:
        return
    what = "centre 110 中心 (media)"
    await uplink.start()
    try:
        answer = await uplink.look(f"probe/{secrets.token_hex(8)}.jpg")
    finally:
        await uplink.stop()
    status = answer.status
    known_bad = status is not None and (300 <= status < 400 or status in (401, 403, 407, 410, 429, 511))
    if status is None or known_bad or (status >= 500 and status != 501):
        tell(Line(what, Result.FAIL, in_words(answer, MEDIA), True))
    else:
        detail = f"answers ({status} to an item that is not there); that it takes one is seen at an alarm"
        tell(Line(what, Result.OK, detail, True))
