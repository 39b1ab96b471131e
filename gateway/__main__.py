"""``python -P -m gateway`` is ``campus-gateway``."""

from gateway.app.commands.main import entry

entry()
