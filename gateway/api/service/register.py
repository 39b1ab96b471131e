"""The access register, for the inspector: its lines, its signed head, and proofs that it only ever grew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import INSPECTOR, RoledRoute, parts_of
from gateway.api.bodies import MOST_COUNTED, Instant
from gateway.api.descriptions import roled
from gateway.api.problems import invalid
from gateway.api.schemas import RegisterOut, RegisterProofOut
from gateway.domain.merkle import consistency_proof, inclusion_proof, root_of

router = APIRouter(prefix="/api/v1/access-register", tags=["register"], route_class=RoledRoute)


@router.get("", summary="Who looked at what", response_model=RegisterOut, **roled(INSPECTOR, 422))
async def register(
    request: Request,
    since: Annotated[Instant | None, Query(alias="from", description="Done at or after.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Done before.")] = None,
    after: Annotated[int, Query(ge=0, le=MOST_COUNTED, description="next_after of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """Oldest first. ``hash`` is each line's leaf in the tree whose root is in ``head``; ``body`` holds its very bytes."""
    parts = parts_of(request)
    lines, head = await parts.store.read(
        lambda tx: (
            tx.register.lines(after=after, limit=limit + 1, since=since, until=until),
            tx.register.head(),
        )
    )
    page = lines[:limit]
    return {
        "lines": [
            {**json.loads(line.body), "body": line.body.decode(), "hash": line.leaf.hex()} for line in page
        ],
        "next_after": page[-1].number if len(lines) > limit else None,
        "head": parts.registering.signed(head),
    }


@router.get(
    "/proof",
    summary="A proof about the register",
    response_model=RegisterProofOut,
    **roled(INSPECTOR, 422),
)
async def proof(
    request: Request,
    size: Annotated[int, Query(ge=1, le=MOST_COUNTED, description="The size of the head to prove against.")],
    line: Annotated[
        int | None, Query(ge=1, le=MOST_COUNTED, description="Prove that this line is in it.")
    ] = None,
    first: Annotated[
        int | None,
        Query(ge=1, le=MOST_COUNTED, description="Prove that the head of this size is its beginning."),
    ] = None,
) -> dict[str, Any]:
    """RFC 6962: an audit path for ``line``, or a consistency proof from ``first``; exactly one of the two."""
    if (line is None) == (first is None):
        raise invalid("query.line", line, "exactly one of line and first")
    asked = line if line is not None else first
    assert asked is not None
    leaves = await parts_of(request).store.read(lambda tx: tx.register.leaves(size))
    if len(leaves) < size or asked > size:
        raise invalid("query.size", size, f"at most the register's length, and not below {asked}")
    # Over the lines of years this takes a second or more, and the loop takes presses meanwhile.
    root, path = await asyncio.to_thread(_proof, leaves, asked, line is not None)
    return {
        "size": size,
        "root": root.hex(),
        "line": line,
        "first": first,
        "proof": [node.hex() for node in path],
    }


def _proof(leaves: Sequence[bytes], asked: int, of_line: bool) -> tuple[bytes, list[bytes]]:
    path = inclusion_proof(leaves, asked - 1) if of_line else consistency_proof(leaves, asked)
    return root_of(leaves), path
