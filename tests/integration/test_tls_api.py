"""The gateway's own https, as a process: who is let in, which certificate it shows, and that renewing needs no restart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from drivers.tls.reading import certificate_of_der
from gateway.domain.certificate import Certificate
from tests.support.certificates import Made, OurCa, StrangeCa, caller, certs
from tests.support.processes import Campus, Gateway, run_gateway, site_yaml, wait_for

TAKEN_UP_S = 20.0  # it looks every 2 s


def https_site(centre: str, cert: Path, key: Path, client_ca: Path | None = None) -> str:
    """A site with the embedded broker whose HTTP face is over TLS."""
    more = f', client_ca: "{client_ca}"' if client_ca else ""
    site = site_yaml(broker="embedded", centre=centre)
    return site.replace("http: {", f'http: {{tls: {{cert: "{cert}", key: "{key}"{more}}}, ')


def shown(url: str, context: ssl.SSLContext) -> Certificate:
    """The certificate the gateway shows; raises ``ssl.SSLError`` where one side refuses the other."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with (
        socket.create_connection((parts.hostname, parts.port or 443), 5) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
    ):
        secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert secure.recv(20).startswith(b"HTTP/1.1 200")
        der = secure.getpeercert(binary_form=True)
        assert der is not None
        return certificate_of_der(der)


def refusal(url: str, context: ssl.SSLContext) -> str:
    """How the gateway's refusal reads at the caller, who waits for it after the handshake."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with (
        pytest.raises(ssl.SSLError) as refused,
        socket.create_connection((parts.hostname, parts.port or 443), 5) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
    ):
        secure.recv(1)
    return str(refused.value)


@contextmanager
def running(folder: Path, site: str, tls: ssl.SSLContext) -> Iterator[Gateway]:
    gateway = Gateway(folder, site)
    gateway.tls = tls
    with gateway:
        yield gateway


def test_callers_without_the_right_certificate_learn_which_is_wrong(tmp_path: Path) -> None:
    """With client_ca: the right one is let in; missing, foreign, expired, not yet valid and a server's are each refused by
    the alert that says so, and the gateway's log names the reason."""
    own, foreign = StrangeCa(tmp_path / "own", "Own CA"), StrangeCa(tmp_path / "foreign", "Foreign CA")
    day = timedelta(days=1)
    api, right = own.leaf("api"), own.leaf("right")
    wrong: dict[Made | None, tuple[str, str]] = {
        None: ("certificate required", "it showed no certificate"),
        foreign.leaf("foreign"): ("unknown ca", "unable to get local issuer certificate"),
        own.leaf("expired", begins=-3 * day, ends=-day): ("certificate expired", "certificate has expired"),
        own.leaf("future", begins=day, ends=3 * day): ("bad certificate", "certificate is not yet valid"),
        own.leaf("server-only", usage="serverAuth"): (
            "unsupported certificate",
            "unsuitable certificate purpose",
        ),
    }
    with Campus(tmp_path) as campus:
        site = https_site(campus.centre_url, api.cert, api.key, own.bundle)
        with running(tmp_path, site, caller(own.bundle, right)) as gateway:
            assert shown(gateway.http, caller(own.bundle, right)).subject == "CN=api"
            for client, (alert, logged) in wrong.items():
                assert alert in refusal(gateway.http, caller(own.bundle, client))
                assert gateway.child is not None
                wait_for(
                    lambda logged=logged: logged in gateway.log.read_text("utf-8"), within_s=5, what=logged
                )
            # A sender that does not wait for the refusal is cut off, not left hanging.
            with pytest.raises(OSError, match=r"certificate required|reset|Broken pipe"):
                shown(gateway.http, caller(own.bundle))
            assert gateway.ready()


def test_only_modern_tls_is_spoken(tmp_path: Path) -> None:
    """TLS 1.2 with forward secrecy and 1.3 are; 1.1 and RSA key exchange are refused."""
    own = StrangeCa(tmp_path / "own")
    api = own.leaf("api")
    with Campus(tmp_path) as campus:
        site = https_site(campus.centre_url, api.cert, api.key)
        with running(tmp_path, site, caller(own.bundle)) as gateway:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = caller(own.bundle)
                context.minimum_version = context.maximum_version = version
                assert shown(gateway.http, context)
            old = caller(own.bundle)
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            assert "version" in refusal(gateway.http, old).lower()
            weak = caller(own.bundle)
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers("AES128-SHA256:ECDHE-ECDSA-AES128-SHA256")
            assert "handshake failure" in refusal(gateway.http, weak)


def test_every_certificate_of_the_api_as_a_caller_sees_it(tmp_path: Path) -> None:
    """Put in place one after the other beside the running gateway: right, of another name, expired, not yet valid, foreign.
    Each is served within seconds, refused by the caller for its reason, and the wrong ones are faults."""
    own, foreign = StrangeCa(tmp_path / "own", "Own CA"), StrangeCa(tmp_path / "foreign", "Foreign CA")
    day = timedelta(days=1)
    right = own.leaf("right")
    cert, key = tmp_path / "api.pem", tmp_path / "api.key"

    def put(made: Made) -> None:
        cert.write_bytes(made.cert.read_bytes())
        key.write_bytes(made.key.read_bytes())

    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    wrong = {
        "other": (own.leaf("other", names="DNS:other.example"), "IP address mismatch", None),
        "expired": (own.leaf("expired", begins=-3 * day, ends=-day), "certificate has expired", "expired"),
        "future": (own.leaf("future", begins=day, ends=300 * day), "not yet valid", "not yet valid"),
        "foreign": (foreign.leaf("foreign"), "unable to get local issuer certificate", None),
    }
    put(right)
    with Campus(tmp_path) as campus:
        site = https_site(campus.centre_url, cert, key)
        with running(tmp_path, site, caller(own.bundle)) as gateway:
            pid = gateway.pid
            assert shown(gateway.http, caller(own.bundle)).subject == "CN=right"
            gateway.tls = anyone
            for name, (made, words, fault) in wrong.items():
                put(made)
                wait_for(
                    lambda name=name: shown(gateway.http, anyone).subject == f"CN={name}",
                    within_s=TAKEN_UP_S,
                    what=f"{name} is served",
                )
                assert words in refusal(gateway.http, caller(own.bundle))
                if fault:
                    subject = ("certificate", f"http.tls.cert {fault}")
                    cause = wait_for(
                        lambda s=subject: gateway.faults().get(s), within_s=10, what=str(subject)
                    )
                    assert f"CN={name}" in cause
                    assert str(cert) in cause
            put(right)
            wait_for(lambda: _served(gateway.http, own.bundle), within_s=TAKEN_UP_S, what="right again")
            wait_for(
                lambda: not [kind for kind, _ in gateway.faults() if kind == "certificate"],
                within_s=10,
                what="no fault is left",
            )
            assert gateway.pid == pid


def _served(url: str, ca: Path) -> bool:
    try:
        return bool(shown(url, caller(ca)))
    except ssl.SSLError:
        return False


def test_an_end_that_comes_near_is_told_and_renewing_clears_it(tmp_path: Path) -> None:
    """By our own command: 20 days are a fault, 5 days another in other words, expired a third; `certs renew` clears it, and the
    same process serves the new certificate. The centre hears of each."""
    ca = OurCa(tmp_path / "tls")
    api = ca.server("api", "127.0.0.1", days=20)
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with Campus(tmp_path) as campus:
        site = https_site(campus.centre_url, api.cert, api.key)
        with running(tmp_path, site, anyone) as gateway:
            pid, told = gateway.pid, []
            for days, stage, words in (
                (20, "soon", "holds for 19 days more"),
                (5, "within days", "only 4 days more"),
                (1e-5, "expired", "has expired"),
            ):
                if days != 20:
                    ca.server("api", "127.0.0.1", days=days)
                subject = ("certificate", f"http.tls.cert {stage}")
                faults = wait_for(
                    lambda subject=subject: {k: v for k, v in gateway.faults().items() if k == subject},
                    within_s=TAKEN_UP_S,
                    what=f"{subject}, not {gateway.faults()}",
                )
                assert words in faults[subject]
                assert "campus-gateway certs renew" in faults[subject]
                told.append(subject)
                others = [k for k in gateway.faults() if k[0] == "certificate" and k != subject]
                assert not others
            assert gateway.ready(), "an expired certificate stops no alarm"
            assert "1 end within 30 days: api.pem" in certs("show", "--dir", str(ca.folder), code=1)
            before = shown(gateway.http, anyone)
            print(certs("renew", "--dir", str(ca.folder)))
            wait_for(
                lambda: not [kind for kind, _ in gateway.faults() if kind == "certificate"],
                within_s=TAKEN_UP_S,
                what="cleared",
            )
            after = shown(gateway.http, caller(ca.bundle))
            assert after.not_after > before.not_after
            assert after.names == before.names
            assert gateway.pid == pid
            heard = wait_for(
                lambda: (f := [(x["kind"], x["subject"]) for x in campus.faults()])[-3:] and f,
                within_s=5,
                what="told to the centre",
            )
            assert [fault for fault in heard if fault[0] == "certificate"] == told


def test_a_key_that_does_not_belong_is_refused_at_the_start_and_outlived_while_running(
    tmp_path: Path,
) -> None:
    """`run` and `check` end with 2 and name the file; the running gateway goes on with what it has, and a fault says so."""
    ca = OurCa(tmp_path / "tls")
    api, other = ca.server("api", "127.0.0.1"), ca.server("centre", "127.0.0.1")
    good = api.key.read_bytes()
    with Campus(tmp_path) as campus:
        site = https_site(campus.centre_url, api.cert, api.key)
        with running(tmp_path, site, caller(ca.bundle)) as gateway:
            api.key.write_bytes(other.key.read_bytes())
            subject = ("certificate", "http.tls unusable")
            cause = wait_for(lambda: gateway.faults().get(subject), within_s=TAKEN_UP_S, what="the fault")
            assert f"{api.key} does not belong to the certificate {api.cert}" in cause
            assert shown(gateway.http, caller(ca.bundle))
            for command in (["check"], ["run"]):
                done = run_gateway(*gateway.command(*command)[4:], "--data-dir", str(tmp_path / "elsewhere"))
                assert done.returncode == 2, done.stdout + done.stderr
                assert f"{api.key} does not belong to the certificate {api.cert}" in done.stderr
            api.key.write_bytes(good)
            wait_for(lambda: subject not in gateway.faults(), within_s=TAKEN_UP_S, what="cleared")


def test_an_expired_certificate_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    """Expired yesterday: it starts, arms, and says so in a fault and in `check --probe`."""
    own = StrangeCa(tmp_path / "own")
    day = timedelta(days=1)
    api = own.leaf("api", begins=-3 * day, ends=-day)
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with Campus(tmp_path) as campus:
        with running(tmp_path, https_site(campus.centre_url, api.cert, api.key), anyone) as gateway:
            cause = wait_for(
                lambda: gateway.faults().get(("certificate", "http.tls.cert expired")),
                within_s=10,
                what="a fault",
            )
            assert "has expired 1 day ago" in cause
            assert "whoever calls the gateway over https refuses it" in cause
        done = run_gateway(*gateway.command("check", "--probe")[4:])
        assert done.returncode == 1
        assert "certificate 证书 http.tls.cert" in done.stdout
        assert "expired 1 day ago; renew it" in done.stdout


def test_handshakes_that_are_never_finished_keep_nobody_out(tmp_path: Path) -> None:
    """As many as are let in from one address, silent, half a hello, and junk: a caller of that address is answered meanwhile, and
    those that are no handshake are counted as a refusal."""
    ours = OurCa(tmp_path / "tls")
    server = ours.server("api", "127.0.0.1")
    with Campus(tmp_path) as campus:
        gateway = Gateway(tmp_path, https_site(campus.centre_url, server.cert, server.key))
        gateway.tls = caller(ours.bundle)
        with gateway:
            parts = urlsplit(gateway.http)
            address = (parts.hostname, parts.port or 443)
            crowd: list[socket.socket] = []
            try:
                for n in range(200):
                    one = socket.create_connection(address, 10)
                    crowd.append(one)
                    with suppress(OSError):
                        one.sendall(
                            (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n")[
                                n % 3
                            ]
                        )
                for _ in range(3):
                    assert gateway.get("/api/v1/caller")["role"] == "technician"
                wait_for(
                    lambda: "failed TLS handshake" in gateway.log.read_text("utf-8"),
                    within_s=30,
                    what="it in the log",
                )
            finally:
                for one in crowd:
                    one.close()
