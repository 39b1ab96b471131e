"""The HTTP face (API.md): built from parts, served by whoever built it.

Importing this imports the web framework, which takes most of a second on a small box: the wiring does it beside or after
arming the contacts, never before.
"""

from __future__ import annotations

from fastapi import FastAPI

from gateway.api.alarm import alarms, drills, live, media
from gateway.api.face import Face
from gateway.api.keyring import Keyring
from gateway.api.parts import ApiParts, Caller
from gateway.api.problems import handle_problems
from gateway.api.ranges import Coverage
from gateway.api.recording import days, holds, playback, recordings, retention
from gateway.api.service import health, page, reference, register, site

__all__ = ["ApiParts", "Caller", "build_app"]


def build_app(parts: ApiParts) -> FastAPI:
    """The application. It starts no task and keeps nothing that matters: whoever serves it may stop at any moment.

    Serve it without the server's access log, or signed links would stand there.
    """
    app = FastAPI(
        title="campus-gateway",
        version=parts.version,
        openapi_url=None,  # served by role, like everything
        docs_url=None,  # … and the framework's page would load its scripts from the internet
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the signed query in a Location header
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.parts = parts
    app.state.keyring = Keyring(parts.tokens)
    app.state.coverage = Coverage()
    app.state.epochs = live.Epochs()
    handle_problems(app)
    for resource in (
        alarms.router,
        drills.router,
        site.router,
        media.router,
        live.router,
        page.router,
        health.router,
        health.guarded,
        register.router,
        recordings.router,
        days.router,
        playback.router,
        playback.files,
        holds.router,
        retention.router,
        reference.router,
    ):
        app.include_router(resource)
    app.add_middleware(Face)
    return app
