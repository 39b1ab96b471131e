"""Liveness, readiness and metrics, for whatever watches the box."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.api.access import UPKEEP, RoledRoute, holder_of, parts_of
from gateway.api.descriptions import open_to_all, roled
from gateway.api.parts import readiness
from gateway.api.schemas import AliveOut, ReadyOut

router = APIRouter(tags=["health"])
guarded = APIRouter(tags=["health"], route_class=RoledRoute)


@router.get("/healthz", summary="Whether the process answers", response_model=AliveOut, **open_to_all())
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether a press would be committed", response_model=ReadyOut, **open_to_all())
async def readyz(request: Request) -> JSONResponse:
    """200 once a press would be committed, 503 otherwise. What else is not well is listed in ``degraded`` and does not change
    the status: with a token of any role as ``kind:subject``, without one as ``kind: number``."""
    status, document = readiness(parts_of(request), names=holder_of(request) is not None)
    return JSONResponse(document, status_code=status)


@guarded.get("/metrics", summary="Prometheus metrics", response_class=Response, **roled(UPKEEP))
async def metrics(request: Request) -> Response:
    return Response(parts_of(request).metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
