"""Recognising: which version in the store is an object's that is on record without one."""

from __future__ import annotations

from gateway.domain.errors import Refused
from gateway.ports.objects import ObjectStore


async def alone(objects: ObjectStore, key: str, size: int | None) -> str | None:
    """The version of an object that is on record without one: ``None`` where the store keeps none.

    The newest may be somebody else's, put over it since the bucket keeps versions: locked, and on record as ours, it could be
    taken for what was recorded, and be deleted by nobody. Raises ``Refused`` unless one alone is there, of ``size`` bytes.
    """
    there = [one async for page in objects.versions(key) for one in page if one.key == key and not one.hides]
    if len(there) != 1 or there[0].bytes != size:
        raise Refused(f"{key}: no version is on record, and which of {len(there)} there it is cannot be told")
    return there[0].version
