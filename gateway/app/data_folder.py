"""What a data folder remembers of its database: whether there was one, and how far it had come.

Shared by the wiring, which starts on it, and by fsck, which says what is lost.
"""

from __future__ import annotations

import os

from config.settings import Settings
from gateway.watch.witness import lost
from storage.sql.ground import ballast_of
from storage.witness import WitnessFiles


def witnesses(settings: Settings) -> WitnessFiles:
    """The places outside the database where it is noted how far it has come."""
    database = settings.database_file
    assert database is not None
    return WitnessFiles(database, settings.objects_dir)


def known_by(settings: Settings) -> str:
    """By what it is known that there was a database here; empty at a true first start."""
    database = settings.database_file
    assert database is not None
    if noted := lost(witnesses(settings).read()):
        return noted
    made_after_it = [
        ballast_of(database),
        settings.data_dir / "objects.mark",
        settings.data_dir / "register.key",
    ]
    return next((f"{file} is there" for file in made_after_it if os.path.exists(file)), "")
