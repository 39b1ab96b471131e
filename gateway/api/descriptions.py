"""How routes describe themselves in the OpenAPI document: roles, errors, and the two ways in."""

from __future__ import annotations

from typing import Any

from gateway.api.problems import KINDS
from gateway.api.schemas import ProblemOut

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of the site file's access list."},
    "link": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "A signed link as the gateway gave it out, with expires, alarm and signature.",
    },
}


def roled(roles: frozenset[str], *statuses: int, link: bool = False) -> dict[str, Any]:
    """Arguments of a route for ``roles`` that may answer these errors besides 401 and 403.

    A route that lists 413 takes a body, which may also be one that cannot be read: 400.
    """
    security: list[dict[str, list[str]]] = [{"bearer": []}]
    if link:
        security.append({"link": []})
    return {
        "responses": _errors(
            401, 403, *((410,) if link else ()), *((400,) if 413 in statuses else ()), *statuses
        ),
        "openapi_extra": {"x-roles": sorted(roles), "security": security},
    }


def linked(*statuses: int) -> dict[str, Any]:
    """Arguments of a route that opens by a signed link only."""
    return {
        "responses": _errors(401, 403, 410, *statuses),
        "openapi_extra": {"security": [{"link": []}]},
    }


def open_to_all(*statuses: int) -> dict[str, Any]:
    """Arguments of a route that asks for no token."""
    return {"responses": _errors(*statuses), "openapi_extra": {"security": []}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, 429, 503):
        titles = [title for number, title, _ in KINDS.values() if number == status]
        found[status] = {
            "description": "; ".join(titles),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
        }
    return found


PROBLEM_SCHEMA = {"ProblemOut": ProblemOut.model_json_schema()}
