"""``campus-gateway fsck``: holds ledger, objects, register and record of deletions against each other, and says the worst.

It changes nothing, and may run beside the gateway: it reads the database as it is at each look.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator

from config.settings import Settings
from gateway import checking
from gateway.checking import Finding
from gateway.clock import SystemClock
from gateway.connecting import object_store
from gateway.domain.errors import Refused, Unavailable
from gateway.ports import ObjectStore
from storage.sql.store import SqlStore

EXIT_CANNOT = 3


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Check, print, return the exit code."""
    try:
        return asyncio.run(_run(settings, hashes=args.hashes, as_json=args.json))
    except (Unavailable, Refused) as exc:
        print(f"campus-gateway fsck: cannot be checked: {exc.reason}", file=sys.stderr)
        return EXIT_CANNOT


async def _run(settings: Settings, *, hashes: bool, as_json: bool) -> int:
    database = settings.database_file
    if database is None or not database.exists():
        raise Refused(f"there is no database at {database}; is --data-dir the gateway's?")
    store = SqlStore(database)
    objects = object_store(settings, SystemClock())
    await store.start()
    await objects.start()
    try:
        worst, count = 0, Counter[str]()
        async for name, finding in _findings(settings, store, objects, hashes=hashes):
            worst = max(worst, finding.grade)
            count[name] += 1
            if as_json:
                print(
                    json.dumps(
                        {
                            "check": name,
                            "grade": finding.grade.name.lower(),
                            "what": finding.what,
                            "about": finding.about,
                            "detail": finding.detail,
                        },
                        ensure_ascii=False,
                    ),
                    flush=True,
                )
            else:
                print(
                    f"{finding.grade.name:<10} {finding.what}: {finding.about} {finding.detail}".rstrip(),
                    flush=True,
                )
    finally:
        await objects.stop()
        await store.stop()
    if as_json:
        print(json.dumps({"findings": sum(count.values()), "exit": int(worst)}))
    else:
        print(
            {0: "all is well 全部一致", 1: "SUSPICIOUS 有疑点", 2: "LOST OR ALTERED 有缺失或被改动"}[
                int(worst)
            ]
        )
    return int(worst)


async def _findings(
    settings: Settings, store: SqlStore, objects: ObjectStore, *, hashes: bool
) -> AsyncIterator[tuple[str, Finding]]:
    site, days, now = settings.site.site.id, settings.site.storage.retention_days, SystemClock().now()

    def told(done: int, whole: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done / 1e9:.1f} of {whole / 1e9:.1f} GB read", end="", file=sys.stderr)

    checks = {
        "register": checking.register(store),
        "deletions": checking.deletions(store, days),
        "minutes": checking.unexplained(store, now, days),
        "recordings": checking.objects_against_ledger(store, objects, site),
        "evidence": checking.evidence(store, objects, site),
        "ceiling": checking.ceiling(store, now, days),
        "sums": checking.sums(store),
        **({"hashes": checking.hashes(store, objects, told)} if hashes else {}),
    }
    for name, check in checks.items():
        print(f"… {name}", file=sys.stderr)
        async for finding in check:
            yield name, finding
