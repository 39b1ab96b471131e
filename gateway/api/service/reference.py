"""The interface's own description: the OpenAPI document, and a page made from it that loads nothing from anywhere."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse

from gateway.api.access import EVERYONE, RoledRoute
from gateway.api.descriptions import PROBLEM_SCHEMA, SECURITY_SCHEMES, roled

router = APIRouter(tags=["reference"], route_class=RoledRoute)

_ABOUT = (
    "Joins a school's panic buttons and cameras to the 110 command centre. Times are RFC 3339 with the school's offset; "
    "errors are RFC 9457 problem documents; lists are paged by opaque cursors."
)
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b232b}
h2{border-top:1px solid #ccd;padding-top:1rem}code{background:#eef1f4;padding:.1rem .3rem}
td,th{border:1px solid #ccd;padding:.2rem .6rem;text-align:left}table{border-collapse:collapse}
pre{background:#eef1f4;padding:.6rem;overflow:auto}
"""


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``app``; made on first use, because no alarm waits for it."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=_ABOUT, routes=app.routes, summary=app.summary
        )
        components = document.setdefault("components", {})
        components["securitySchemes"] = SECURITY_SCHEMES
        components.setdefault("schemas", {}).update(PROBLEM_SCHEMA)
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        # The framework promises its own 422 wherever a path has a parameter; here those are plain strings and never invalid.
        for operation in (op for methods in document["paths"].values() for op in methods.values()):
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
        app.openapi_schema = document
    return app.openapi_schema


@router.get("/openapi.json", summary="This description", response_class=JSONResponse, **roled(EVERYONE))
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(describe(request.app))


@router.get("/docs", summary="This description, to read", response_class=HTMLResponse, **roled(EVERYONE))
async def docs(request: Request) -> HTMLResponse:
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return HTMLResponse(_page(describe(request.app)), headers={"Content-Security-Policy": policy})


def _page(document: dict[str, Any]) -> str:
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    sections = [
        _section(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(info['description'])}</p>"
        f"<p>Bodies and answers in full: <code>/openapi.json</code>.</p>{''.join(sections)}</html>"
    )


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    ways = [", ".join(operation.get("x-roles", ()))]
    if any("link" in way for way in operation.get("security", ())):
        ways.append("a signed link")
    roles = "; or ".join(way for way in ways if way) or "anybody, without a token"
    parameters = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{p['in']}<td>{escape(p.get('description', ''))}</tr>"
        for p in operation.get("parameters", ())
    )
    answers = "".join(
        f"<tr><td>{status}<td>{escape(answer['description'])}</tr>"
        for status, answer in operation["responses"].items()
    )
    table = f"<table><tr><th>parameter<th>in<th>what</tr>{parameters}</table>" if parameters else ""
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}. "
        f"For: {escape(roles)}.</p><p>{escape(operation.get('description', ''))}</p>{table}"
        f"<table><tr><th>status<th>meaning</tr>{answers}</table>"
    )
