"""``python -P -m gateway`` is ``campus-gateway``."""

from gateway.cli import entry

entry()
