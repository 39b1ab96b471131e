"""Certificates for tests: by our own command, as a user makes them, and by the openssl command, as a stranger does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.processes import Child, free_port, run_gateway, tool, wait_for

_CA_CONFIG = """\
[ca]
default_ca = one
[one]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
CN = unused
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A certificate and its key on disk."""

    cert: Path
    key: Path


def certs(*words: str, code: int = 0) -> str:
    """Run ``campus-gateway certs``; what it printed."""
    done = run_gateway("certs", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class OurCa:
    """A site CA made by our command."""

    def __init__(self, folder: Path, site: str = "第三中学") -> None:
        self.folder = folder
        certs("init", "--dir", str(folder), "--site-name", site)
        self.bundle = folder / "ca.pem"

    def server(self, kind: str, *hosts: str, days: float | None = None) -> Made:
        """Issue for the API, the broker or the centre."""
        return self._issue(kind, [word for host in hosts for word in ("--host", host)], kind, days)

    def client(self, name: str = "gateway", days: float | None = None) -> Made:
        """Issue for a client."""
        return self._issue("client", [name], name, days)

    def _issue(self, kind: str, words: Sequence[str], name: str, days: float | None) -> Made:
        more = [] if days is None else ["--days", f"{days:.6f}"]
        certs("issue", "--dir", str(self.folder), "--for", kind, *words, *more, "--force")
        return Made(cert=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")


class StrangeCa:
    """A CA by the openssl command, which can also make what ours refuses to: certificates of the past and the future."""

    def __init__(self, folder: Path, name: str = "Strange CA") -> None:
        self._openssl = tool("openssl", "openssl")
        self.folder = folder
        folder.mkdir()
        self._config = folder / "openssl.cnf"
        self._config.write_text(_CA_CONFIG.format(folder=folder), "utf-8")
        (folder / "index.txt").write_text("")
        self.bundle = folder / "ca.pem"
        self._run(
            *(
                "req",
                "-x509",
                "-config",
                str(self._config),
                "-extensions",
                "authority",
                "-subj",
                f"/CN={name}",
            ),
            *("-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"),
        )

    def leaf(
        self,
        name: str,
        *,
        names: str = "IP:127.0.0.1",
        usage: str = "serverAuth,clientAuth",
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta = timedelta(days=300),
    ) -> Made:
        """A certificate whose life is counted from now, in either direction."""
        now = datetime.now(UTC)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={names}\nextendedKeyUsage={usage}\nbasicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        self._run(
            *("req", "-new", "-config", str(self._config), "-subj", f"/CN={name}", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        self._run(
            *(
                "ca",
                "-batch",
                "-config",
                str(self._config),
                "-cert",
                "ca.pem",
                "-keyfile",
                "ca.key",
                "-notext",
            ),
            *("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", str(extensions)),
            *("-startdate", f"{now + begins:%Y%m%d%H%M%SZ}", "-enddate", f"{now + ends:%Y%m%d%H%M%SZ}"),
        )
        return Made(cert=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [self._openssl, *words], capture_output=True, text=True, check=False, cwd=self.folder, timeout=30
        )
        assert done.returncode == 0, done.stderr


def caller(ca: Path, client: Made | None = None) -> ssl.SSLContext:
    """How a stranger's program calls https: Python's own default, strict as Python 3.13 makes it."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


class TlsBroker:
    """mosquitto with two listeners: plain for buttons, and TLS (with ``client_ca`` only for certificates of it)."""

    def __init__(self, folder: Path, server: Made, client_ca: Path | None) -> None:
        self._binary = tool("mosquitto", "mosquitto")
        self._ports = (free_port(), free_port())
        self.plain = f"mqtt://127.0.0.1:{self._ports[0]}"
        self.url = f"mqtts://127.0.0.1:{self._ports[1]}"
        self.port = self._ports[1]
        lines = [
            *(["user root"] if os.geteuid() == 0 else []),  # it would become a user who may not read here
            "per_listener_settings true",
            f"listener {self._ports[0]} 127.0.0.1",
            "allow_anonymous true",
            f"listener {self._ports[1]} 127.0.0.1",
            "allow_anonymous true",
            f"certfile {server.cert}",
            f"keyfile {server.key}",
            *([f"cafile {client_ca}", "require_certificate true"] if client_ca else []),
        ]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n", "utf-8")
        self._log = folder / "mosquitto.log"

    def __enter__(self) -> TlsBroker:
        self._child = Child([self._binary, "-c", str(self._config)], log=self._log)
        for port in self._ports:
            wait_for(lambda port=port: self._listens(port), within_s=10, what=f"mosquitto listens on {port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.terminate()

    def reload(self) -> None:
        """What `systemctl reload mosquitto` does."""
        self._child.process.send_signal(signal.SIGHUP)

    def _listens(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        assert self._child.process.poll() is None, self._log.read_text("utf-8", "replace")
        return False
