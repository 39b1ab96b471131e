"""Certificates for tests: by our own command, as a user makes them, and by the openssl command, as a stranger does."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.mosquitto import running_mosquitto
from tests.support.processes import free_port, run_gateway, tool

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


@contextlib.contextmanager
def tls_mosquitto(
    folder: Path, server: Made, client_ca: Path | None, *, more: str = ""
) -> Iterator[tuple[str, str]]:
    """mosquitto with two listeners: plain for buttons, TLS (with ``client_ca`` only for certificates of it) for the gateway."""
    port = free_port()
    lines = [
        "allow_anonymous true",
        f"listener {port} 127.0.0.1",
        f"certfile {server.cert}",
        f"keyfile {server.key}",
        *([f"cafile {client_ca}", "require_certificate true"] if client_ca else []),
        "allow_anonymous true",
        *(["user root"] if os.geteuid() == 0 else []),
        more,
    ]
    with running_mosquitto(folder, config="\n".join(lines) + "\n") as plain:
        yield plain, f"mqtts://127.0.0.1:{port}"
