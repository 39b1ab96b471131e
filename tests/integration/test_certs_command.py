"""``campus-gateway certs`` as a user runs it, its certificates judged by the openssl command and by strict Python."""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.tls.reading import read_certificates
from tests.support.certificates import Made, OurCa, caller, certs
from tests.support.processes import run_gateway, site_yaml, tool


def openssl(*words: str) -> str:
    """What the openssl command says; a failure is the test's."""
    done = subprocess.run(
        [tool("openssl", "openssl"), *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def connected(server: Made, client: Made | None, ca: Path) -> bool:
    """Whether two strict programs understand each other by these."""
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    listening.verify_flags |= ssl.VERIFY_X509_STRICT
    listening.verify_mode = ssl.CERT_REQUIRED if client else ssl.CERT_NONE
    listening.load_cert_chain(server.cert, server.key)
    here, there = socket.socketpair()
    said: list[bytes] = []

    def serve() -> None:
        with listening.wrap_socket(there, server_side=True) as secure:
            said.append(secure.recv(5))

    thread = threading.Thread(target=serve)
    thread.start()
    with caller(ca, client).wrap_socket(here, server_hostname="127.0.0.1") as secure:
        secure.sendall(b"press")
    thread.join(10)
    return said == [b"press"]


def test_what_it_makes_stands_up_to_the_strictest_check(tmp_path: Path) -> None:
    """openssl verify -x509_strict takes every certificate for its purpose and no other; keys are P-256; two strict programs
    speak by them; the names are in subjectAltName; the CA may sign no further CA."""
    ca = OurCa(tmp_path / "tls")
    server = ca.server("api", "127.0.0.1", "school.example", "::1", "*.school.example", "学校.example")
    client = ca.client("gateway")
    verify = ("verify", "-x509_strict", "-CAfile", str(ca.bundle))
    assert openssl(*verify, "-purpose", "sslserver", "-verify_ip", "127.0.0.1", str(server.cert))
    assert openssl(*verify, "-purpose", "sslserver", "-verify_hostname", "a.school.example", str(server.cert))
    assert openssl(*verify, "-purpose", "sslclient", str(client.cert))
    for made, purpose in ((server, "sslclient"), (client, "sslserver")):
        with pytest.raises(AssertionError, match="unsuitable certificate purpose"):
            openssl(*verify, "-purpose", purpose, str(made.cert))
    text = openssl("x509", "-in", str(server.cert), "-noout", "-text")
    for words in (
        "Version: 3",
        "CA:FALSE",
        "ASN1 OID: prime256v1",
        "DNS:school.example",
        "DNS:" + "学校.example".encode("idna").decode(),
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1",
        "Authority Key Identifier",
        "Subject Key Identifier",
    ):
        assert words in text, text
    assert "CA:TRUE, pathlen:0" in openssl("x509", "-in", str(ca.bundle), "-noout", "-text")
    numbers = {
        openssl("x509", "-in", str(f), "-noout", "-serial") for f in (server.cert, client.cert, ca.bundle)
    }
    assert len(numbers) == 3
    assert connected(server, client, ca.bundle)
    leaf, authority = read_certificates(server.cert)[0], read_certificates(ca.bundle)[0]
    now = datetime.now(UTC)
    assert 824 <= leaf.left(now).days <= 825
    assert 3649 <= authority.left(now).days <= 3650


def test_keys_are_its_owners_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    """Keys 0600, the CA's folder 0700; a second init or issue changes nothing and says what would; --force replaces; an owner
    and a mode given to a key survive its renewal."""
    ca = OurCa(tmp_path / "tls")
    api = ca.server("api", "127.0.0.1")
    assert mode(api.key) == mode(ca.folder / "ca" / "ca-1.key") == 0o600
    assert mode(ca.folder / "ca") == 0o700
    assert mode(api.cert) == 0o644
    before = {file: file.read_bytes() for file in ca.folder.rglob("*") if file.is_file()}
    again = ("--dir", str(ca.folder), "--for", "api", "--host", "127.0.0.1")
    assert "certs renew" in certs("issue", *again, code=2)
    assert "--force begins anew" in certs("init", "--dir", str(ca.folder), "--site-name", "x", code=2)
    assert before == {file: file.read_bytes() for file in ca.folder.rglob("*") if file.is_file()}
    api.key.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(api.key, 12345, 23456)
    certs("renew", "--dir", str(ca.folder), "--all")
    assert api.key.read_bytes() != before[api.key]
    assert mode(api.key) == 0o640
    if os.geteuid() == 0:
        assert (api.key.stat().st_uid, api.key.stat().st_gid) == (12345, 23456)
    certs("init", "--dir", str(ca.folder), "--site-name", "另一个", "--force")
    with pytest.raises(AssertionError, match="error"):
        openssl("verify", "-CAfile", str(ca.bundle), str(api.cert))


def test_renewing_keeps_the_names_and_leaves_alone_what_has_time(tmp_path: Path) -> None:
    """Of two, the one that ends within 30 days is renewed: same names and purpose, a new key and serial number; a stranger's
    certificate in the folder is not touched."""
    ca, stranger = OurCa(tmp_path / "tls"), OurCa(tmp_path / "stranger")
    soon = ca.server("broker", "10.0.0.5", "broker.example", days=29)
    later = ca.client("gateway", days=31)
    foreign = stranger.client("foreign", days=1)
    for file in (foreign.cert, foreign.key):
        (ca.folder / file.name).write_bytes(file.read_bytes())
    files = {file: file.read_bytes() for file in ca.folder.glob("*.pem")}
    old = read_certificates(soon.cert)[0]
    shown = certs("show", "--dir", str(ca.folder), code=1)
    assert "2 end within 30 days: broker.pem, foreign.pem" in shown
    assert re.search(r"broker\.pem .*broker\.example, 10\.0\.0\.5 +server .* 28 days", shown)
    said = certs("renew", "--dir", str(ca.folder))
    assert "renewed" in said
    assert "is of another CA" in said
    new = read_certificates(soon.cert)[0]
    assert (new.names, new.purposes, new.subject) == (old.names, old.purposes, old.subject)
    assert new.left(datetime.now(UTC)).days >= 824
    changed = {file.name for file, data in files.items() if file.read_bytes() != data}
    assert changed == {"broker.pem"}
    assert later.cert.exists()
    openssl("verify", "-x509_strict", "-CAfile", str(ca.bundle), str(soon.cert))
    assert "nothing ends within 30 days" in certs("renew", "--dir", str(ca.folder))


def test_a_new_ca_comes_beside_the_old_one_and_signs_when_everybody_has_it(tmp_path: Path) -> None:
    """After the roll the bundle holds both. Until the overlap is over the old CA signs, so whoever has only the old bundle is not
    cut off; then the new one does, and whoever has the new bundle takes both kinds."""
    ca = OurCa(tmp_path / "tls")
    first = ca.server("api", "127.0.0.1")
    old_bundle = tmp_path / "old.pem"
    old_bundle.write_bytes(ca.bundle.read_bytes())
    assert "begins to sign after 30 days" in certs("renew", "--dir", str(ca.folder), "--new-ca")
    assert [c.subject for c in read_certificates(ca.bundle)] == [
        "CN=第三中学 CA 2, O=第三中学",
        "CN=第三中学 CA 1, O=第三中学",
    ]
    during = ca.server("broker", "127.0.0.1")
    assert "does not sign yet" in certs("renew", "--dir", str(ca.folder), "--new-ca")
    certs("renew", "--dir", str(ca.folder), "--all", "--overlap", "0")
    certs("issue", "--dir", str(ca.folder), "--for", "client", "late", "--overlap", "0")
    late = Made(cert=ca.folder / "late.pem", key=ca.folder / "late.key")
    assert "CA 2" in read_certificates(late.cert)[0].issuer
    assert "CA 2" in read_certificates(first.cert)[0].issuer
    for made in (first, during, late):
        openssl("verify", "-x509_strict", "-CAfile", str(ca.bundle), str(made.cert))
    with pytest.raises(AssertionError, match="error"):
        openssl("verify", "-CAfile", str(old_bundle), str(late.cert))


def test_a_ca_that_would_cut_short_what_it_signs_makes_room(tmp_path: Path) -> None:
    """A CA with less left than a certificate's life: what it signs ends with it and says so; `renew` brings the next CA."""
    folder = tmp_path / "tls"
    certs("init", "--dir", str(folder), "--site-name", "short", "--days", "100")
    said = certs("issue", "--dir", str(folder), "--for", "client", "gateway")
    assert "(the CA itself ends then)" in said
    assert (
        read_certificates(folder / "gateway.pem")[0].not_after
        == read_certificates(folder / "ca.pem")[0].not_after
    )
    assert "made a further CA, number 2" in certs("renew", "--dir", str(folder))
    assert len(read_certificates(folder / "ca.pem")) == 2
    assert "nothing ends" in certs("renew", "--dir", str(folder))
    assert len(read_certificates(folder / "ca.pem")) == 2, "one is enough"


def test_the_ca_key_may_be_kept_elsewhere(tmp_path: Path) -> None:
    """Taken off the box: nothing can be issued, and it says where the CA is missing; brought back by --ca-dir, it works."""
    ca = OurCa(tmp_path / "tls")
    stick = tmp_path / "stick"
    (ca.folder / "ca").rename(stick)
    words = ("--dir", str(ca.folder), "--for", "client", "gateway")
    assert "bring the folder back" in certs("issue", *words, code=2)
    certs("issue", *words, "--ca-dir", str(stick))
    assert "gateway.pem" in certs("show", "--dir", str(ca.folder))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "api"), "needs --host"),
        (("--for", "api", "--host", "https://school.example"), "neither a host name nor an IP address"),
        (("--for", "api", "--host", "school.example:8443"), "neither a host name nor an IP address"),
        (("--for", "api", "school.example"), "write --host school.example"),
        (("--for", "client"), "a client needs a name"),
        (("--for", "client", "../x"), "is no name for a certificate here"),
        (("--for", "client", "ca"), "is no name for a certificate here"),
        (("--for", "client", "broker"), "is the name of a server's certificate here"),
        (("--for", "client", "gateway", "--days", "-1"), "expected 0 to 36500 days"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    """Exit 2, with what to write instead."""
    assert said in certs("issue", "--dir", str(tmp_path / "tls"), *words, code=2)
    assert not (tmp_path / "tls").exists()


def test_show_reads_what_a_site_file_names(tmp_path: Path) -> None:
    """By key of the site file, whoever issued it; exit 1 where one ends within 30 days."""
    ca = OurCa(tmp_path / "tls")
    client = ca.client("gateway", days=10)
    site = site_yaml(broker="embedded", centre="https://127.0.0.1:1/campus").replace(
        "secret: {env: CENTRE_SECRET}",
        f'secret: {{env: CENTRE_SECRET}}, ca: "{ca.bundle}", cert: "{client.cert}", key: "{client.key}"',
    )
    config = tmp_path / "site.yaml"
    config.write_text(site, "utf-8")
    shown = certs("show", "--config", str(config), code=1)
    assert "centre.webhook.cert (gateway.pem)" in shown
    assert "1 end within 30 days: centre.webhook.cert" in shown
    help_ = run_gateway("certs", "--help").stdout
    for action in ("init", "issue", "renew", "show"):
        assert action in help_


def test_the_lines_it_prints_are_the_lines_that_work(tmp_path: Path) -> None:
    """For api, broker, centre and client: the site file's keys and mosquitto's, with the paths just made."""
    ca = OurCa(tmp_path / "tls")
    where = ("issue", "--dir", str(ca.folder), "--for")
    api = certs(*where, "api", "--host", "school.example")
    assert f'cert: "{ca.folder}/api.pem"' in api
    assert f'client_ca: "{ca.bundle}"' in api
    broker = certs(*where, "broker", "--host", "::1")
    assert f"  keyfile {ca.folder}/broker.key" in broker
    assert '    url: "mqtts://[::1]:8883"' in broker
    assert "  acl_file /etc/mosquitto/acl\n" in broker  # without it any certificate publishes under any name
    assert "--client-ca" in certs(*where, "centre", "--host", "127.0.0.1")
    assert f'  key: "{ca.folder}/gateway.key"' in certs(*where, "client", "gateway")
