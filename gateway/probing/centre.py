"""The 110 centre: one signed heartbeat over each path, and a look at the place for evidence."""

from __future__ import annotations

import asyncio
import secrets

from config.settings import Settings
from drivers.contacts.formats import CODECS
from drivers.uplinks.webhook import WebhookPath
from gateway.clock import SystemClock
from gateway.connecting import centre_paths, media_push
from gateway.domain.envelope import Envelopes
from gateway.domain.links import LinkSigner
from gateway.domain.message import MessageType
from gateway.probing.table import Line, Result, Tell
from gateway.siteplan import compile_plan
from gateway.supervising import HEARTBEAT_S


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
    data = {
        "next_within_s": HEARTBEAT_S,
        "open_alarms": 0,
        "faults": 0,
        "undelivered": 0,
        "path": path.name,
        "probe": True,
    }
    said = envelopes.message(MessageType.LINK_HEARTBEAT, data, at=now, now=now)
    await path.start()
    try:
        began = clock.monotonic()
        answer = await path.deliver(said.id, said.body)
        took_ms = (clock.monotonic() - began) * 1000
    finally:
        await path.stop()
    if answer.status is None:
        detail = f"no answer: {answer.detail}; check centre.webhook and the network"
        tell(Line(what, Result.FAIL, detail, True))
        return
    shown = f"{answer.status} {answer.detail} in {took_ms:.0f} ms"
    if 200 <= answer.status < 300:
        tell(Line(what, Result.OK, f"a signed heartbeat was received: {shown}", True))
    elif answer.status in (400, 401, 403):
        detail = f"{shown}: it does not take our signature; compare centre.webhook.secret, and both clocks"
        tell(Line(what, Result.FAIL, detail, True))
    else:
        tell(Line(what, Result.FAIL, f"{shown}: expected 2xx; ask the centre, and check the address", True))


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
    if answer.status is None:
        detail = f"no answer: {answer.detail}; check centre.media_url and the network"
        tell(Line(what, Result.FAIL, detail, True))
    elif answer.status in (401, 403):
        detail = f"{answer.status}: it does not take our token; compare centre.media_token with the centre"
        tell(Line(what, Result.FAIL, detail, True))
    elif answer.status >= 500 and answer.status != 501:
        tell(
            Line(
                what, Result.FAIL, f"{answer.status}: ask the centre what its media place suffers from", True
            )
        )
    elif 300 <= answer.status < 400:
        detail = (
            f"{answer.status}: redirects are not followed; write the address it names in centre.media_url"
        )
        tell(Line(what, Result.FAIL, detail, True))
    else:
        detail = (
            f"answers ({answer.status} to an item that is not there); that it takes one is seen at an alarm"
        )
        tell(Line(what, Result.OK, detail, True))
