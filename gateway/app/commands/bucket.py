"""``make-bucket``: the bucket of the site file, made with object lock and put to the proof."""

from __future__ import annotations

import sys

from config.settings import Settings
from gateway.app.neighbours import object_store
from gateway.box.clock import SystemClock
from gateway.domain.errors import Refused, Unavailable
from storage.objects.s3 import S3Objects

EXIT_FAILED = 1
EXIT_REFUSED = 2


async def make_bucket(settings: Settings) -> int:
    """Make it where there is none, and say what it is worth. Returns the exit code."""
    where = settings.site.storage.objects
    store = object_store(settings, SystemClock())
    if not isinstance(store, S3Objects):
        print(f"storage.objects: {where} is no S3 store, and needs no bucket", file=sys.stderr)
        return EXIT_REFUSED
    try:
        made = await store.make_bucket()
        print(f"{where}: {'made, with object lock' if made else 'was there already, and is left as it is'}")
        proof = await store.prove_lock()
    except (Refused, Unavailable) as exc:
        print(exc.reason, file=sys.stderr)
        return EXIT_FAILED
    finally:
        await store.stop()
    if not proof.holds:
        print(proof.cause, file=sys.stderr)
        return EXIT_FAILED
    print(f"{where}: an object was locked for an hour, and deleting it was refused")
    return 0
