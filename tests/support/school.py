"""A school that is none: signs with the published reference library and offers media, for tests of the centre."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook


@dataclass(slots=True, kw_only=True)
class Heard:
    """One call from the centre: path, Authorization header and body."""

    path: str
    authorization: str | None
    body: Any


@dataclass(slots=True, kw_only=True)
class School:
    """Serves `media` by path and takes replies; `send` posts one signed message to the centre."""

    secret: str
    drill_secret: str
    media: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    replies: list[Heard] = field(default_factory=list)
    reply_status: int = 200
    fail_media: int = 0
    fetches: dict[str, int] = field(default_factory=dict)
    _runner: web.AppRunner | None = None
    _http: aiohttp.ClientSession | None = None
    port: int = 0

    async def __aenter__(self) -> School:
        app = web.Application()
        app.router.add_get("/media/{name:.+}", self._give)
        app.router.add_post("/api/v1/{rest:.+}", self._hear)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        assert self._runner is not None
        await self._http.close()
        await self._runner.cleanup()

    @property
    def base(self) -> str:
        """Where this school is reached."""
        return f"http://127.0.0.1:{self.port}"

    async def send(
        self,
        url: str,
        envelope: dict[str, Any],
        *,
        secret: str | None = None,
        signed_at: datetime | None = None,
        **changed_headers: str,
    ) -> tuple[int, str]:
        """Post one message; the status is 0 if no answer came back."""
        assert self._http is not None
        body = json.dumps(envelope, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        at = signed_at or datetime.now(UTC)
        key = secret or (self.drill_secret if envelope["type"].startswith("drill.") else self.secret)
        headers = {
            "Content-Type": "application/cloudevents+json",
            "webhook-id": envelope["id"],
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(key).sign(envelope["id"], at, body),
        } | {name.replace("_", "-"): value for name, value in changed_headers.items()}
        try:
            async with self._http.post(
                url, data=body.encode(), headers=headers, timeout=aiohttp.ClientTimeout(total=10)
            ) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, ConnectionError) as error:
            return 0, type(error).__name__

    def raised(self, n: int = 1, *, drill: bool = False, cameras: int = 1) -> dict[str, Any]:
        """The message `alarm.raised` (or `drill.raised`) of alarm number `n`."""
        plane, alarm_id = ("drill", f"drl_{n}") if drill else ("alarm", f"alm_{n}")
        now = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
        data = {
            plane: {
                "id": alarm_id,
                "state": "raised",
                "severity": "panic",
                "pressed_at": now,
                "raised_at": now,
                "late_s": 0,
                "presses": 1,
            },
            "site": {
                "id": "jms-no3-middle",
                "name": "第三中学",
                "address": "长安路 86 号",
                "location": {"lat": 46.8085, "lon": 130.3653},
            },
            "point": {
                "id": "p-b1-301",
                "name": "301 教室讲台",
                "zone": {
                    "id": "b1-301",
                    "name": "301 教室",
                    "kind": "classroom",
                    "building": "一号楼",
                    "floor": 3,
                },
            },
            "cameras": [
                {
                    "id": f"cam-{c + 1}",
                    "name": ("三层走廊", "南门枪机", "一层大厅", "操场")[c % 4],
                    "zone": "b1-f3-corridor",
                    "healthy": True,
                    "live": {
                        "page": f"{self.base}/live/cam-{c + 1}",
                        "hls": f"{self.base}/media/live/{c + 1}/index.m3u8",
                        "expires_at": now,
                    },
                }
                for c in range(cameras)
            ],
            "reply_url": f"{self.base}/api/v1/{plane}s/{alarm_id}/replies",
        }
        return self.envelope(f"{plane}.raised", alarm_id, 1, data)

    def evidence(
        self,
        n: int,
        sequence: int,
        content: bytes,
        *,
        kind: str = "still",
        moment: str = "press",
        camera: int = 1,
        sha256: str | None = None,
    ) -> dict[str, Any]:
        """The message `alarm.evidence` for `content`, which is then served."""
        evidence_id = f"ev_{n}_{sequence}"
        media_type = "image/jpeg" if kind == "still" else "video/mp4"
        self.media[evidence_id] = (media_type, content)
        at = datetime.now(UTC)
        evidence = {
            "id": evidence_id,
            "camera": f"cam-{camera}",
            "kind": kind,
            "moment": moment,
            "from": at.isoformat(timespec="milliseconds"),
            "to": (at + timedelta(seconds=0 if kind == "still" else 10)).isoformat(timespec="milliseconds"),
            "taken_at": at.isoformat(timespec="milliseconds"),
            "offset_ms": 3,
            "clock": "rtcp",
            "source": "ring",
            "media_type": media_type,
            "bytes": len(content),
            "sha256": sha256 or hashlib.sha256(content).hexdigest(),
            "url": f"{self.base}/media/{evidence_id}",
            "expires_at": (at + timedelta(days=7)).isoformat(timespec="seconds"),
        }
        return self.envelope(
            "alarm.evidence", f"alm_{n}", sequence, {"alarm": {"id": f"alm_{n}"}, "evidence": evidence}
        )

    def manifest(self, n: int, sequence: int, items: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The message `alarm.manifest`."""
        data = {"alarm": {"id": f"alm_{n}"}, "revision": 1, "items": items or []}
        return self.envelope("alarm.manifest", f"alm_{n}", sequence, data)

    def envelope(
        self, kind: str, subject: str | None, sequence: int | None, data: dict[str, Any]
    ) -> dict[str, Any]:
        """A CloudEvent as the contract has it."""
        envelope = {
            "specversion": "1.0",
            "id": f"msg_{subject or kind}_{sequence or 0}",
            "source": "/campus/jms-no3-middle",
            "type": kind,
            "subject": subject,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "sequence": None if sequence is None else str(sequence),
            "datacontenttype": "application/json",
            "data": data,
        }
        return {name: value for name, value in envelope.items() if value is not None}

    async def _give(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.fetches[name] = self.fetches.get(name, 0) + 1
        if self.fail_media > 0:
            self.fail_media -= 1
            return web.Response(status=503)
        if name not in self.media:
            return web.Response(status=410, text="expired")
        media_type, content = self.media[name]
        await asyncio.sleep(0)
        return web.Response(body=content, content_type=media_type)

    async def _hear(self, request: web.Request) -> web.Response:
        self.replies.append(
            Heard(
                path=request.path,
                authorization=request.headers.get("Authorization"),
                body=await request.json(),
            )
        )
        if self.reply_status == 409:
            return web.json_response({"title": "not allowed", "state": "closed"}, status=409)
        return web.json_response({"state": self.replies[-1].body.get("reply")}, status=self.reply_status)
