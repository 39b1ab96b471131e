"""Certificates that end, over the real paths: renewed files at the next connection, others' ends as faults."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from drivers.contacts.address import BrokerAddress
from drivers.contacts.mqtt import MqttFeed
from drivers.tls.contexts import TlsFiles, client_context, contexts_of
from drivers.tls.reading import read_certificates
from drivers.uplinks.webhook import WebhookPath
from gateway.box.clock import SystemClock
from gateway.domain.errors import Refused
from simulators.button import SimulatedButton
from simulators.centre.signatures import new_secret
from tests.support.certificates import Made, OurCa, StrangeCa, TlsBroker, certs
from tests.support.processes import Campus, Child, Gateway, run_gateway, site_yaml, topic, wait_for
from tests.support.signals import wait_until


def test_a_renewed_client_certificate_goes_out_with_the_next_connection(tmp_path: Path) -> None:
    """The centre sees the new serial number from the same path without a restart; half a renewal changes nothing and is
    refused by name."""
    ca = OurCa(tmp_path / "tls")
    server, client = ca.server("centre", "127.0.0.1"), ca.client("gateway", days=10)
    files = TlsFiles(ca=ca.bundle, cert=client.cert, key=client.key)
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        seen.append(request.transport.get_extra_info("peercert")["serialNumber"])
        return web.Response(status=204, headers={"Connection": "close"})

    async def work() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca.bundle))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(server.cert, server.key)
        app = web.Application()
        app.router.add_post("/campus", take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/campus"
        tls = client_context(files)
        path = WebhookPath("first", url, new_secret(), SystemClock(), tls)
        await path.start()
        assert (await path.deliver("msg_1", b"{}")).status == 204
        old_key = client.key.read_bytes()
        certs("renew", "--dir", str(ca.folder))
        new_key = client.key.read_bytes()
        client.key.write_bytes(old_key)
        with pytest.raises(Refused, match="does not belong to the certificate"):
            tls.renew()
        assert (await path.deliver("msg_2", b"{}")).status == 204
        client.key.write_bytes(new_key)
        assert contexts_of(files) == [tls]
        tls.renew()
        assert (await path.deliver("msg_3", b"{}")).status == 204
        await path.stop()
        await runner.cleanup()

    asyncio.run(work())
    assert seen[0] == seen[1] != seen[2]


# As in test_tls_refusals.py: a socket of paho's whose handshake failed.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_a_ca_that_is_rolled_cuts_nobody_off(tmp_path: Path) -> None:
    """With the bundle of old and new taken up, the broker changes to a certificate of the new CA by a reload and the feed's
    next connection is armed; a feed that has only the old bundle says that the CA is foreign to it."""
    ca = OurCa(tmp_path / "tls")
    server, client = ca.server("broker", "127.0.0.1"), ca.client("gateway")
    old = tmp_path / "old.pem"
    old.write_bytes(ca.bundle.read_bytes())
    tls = client_context(TlsFiles(ca=ca.bundle, cert=client.cert, key=client.key))
    late = client_context(TlsFiles(ca=old, cert=client.cert, key=client.key))

    async def feed(port: int, context: ssl.SSLContext) -> str:
        address = BrokerAddress(host="127.0.0.1", port=port, client_id="t", tls=context)
        one = MqttFeed(address, ["campus/x"], SystemClock())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(one.run(lambda _message: None))
            await wait_until(lambda: one.armed or one.cause.startswith("TLS: "), 15, one.cause)
            cause = one.cause
            running.cancel()
        return cause

    with TlsBroker(tmp_path, server, ca.bundle) as broker:
        assert asyncio.run(feed(broker.port, tls)) == ""
        certs("renew", "--dir", str(ca.folder), "--new-ca")
        tls.renew()
        certs("renew", "--dir", str(ca.folder), "--all", "--overlap", "0")
        assert "CA 2" in read_certificates(server.cert)[0].issuer
        broker.reload()
        assert asyncio.run(feed(broker.port, tls)) == ""
        assert "is of a foreign CA" in asyncio.run(feed(broker.port, late))


def mutual_site(centre: str, broker: str, ca: Path, client: Made) -> str:
    """A site with mutual TLS to centre and broker."""
    ours = f'ca: "{ca}", cert: "{client.cert}", key: "{client.key}"'
    site = site_yaml(broker=broker, centre=centre)
    site = site.replace("secret: {env: CENTRE_SECRET}", f"secret: {{env: CENTRE_SECRET}}, {ours}")
    return site.replace(f'mqtt: {{url: "{broker}"', f'mqtt: {{url: "{broker}", {ours}')


def serving(made: Made, client_ca: Path) -> list[str]:
    """The campus's options for a centre over TLS."""
    return ["--tls-cert", str(made.cert), "--tls-key", str(made.key), "--client-ca", str(client_ca)]


def fault(gateway: Gateway, kind: str, subject: str) -> str | None:
    """The open fault's cause; ``None`` also while the gateway does not answer yet."""
    try:
        return gateway.faults().get((kind, subject))
    except urllib.error.URLError:
        return None


def test_the_certificates_of_others_are_watched_too(tmp_path: Path) -> None:
    """A broker's and a centre's certificate that end in 20 and in 5 days: a fault each, which names them and says whose it is to
    renew; alarms go on. So does one for our own client certificate at both places that name it."""
    own = StrangeCa(tmp_path / "own", "Own CA")
    day = timedelta(days=1)
    server, centre = own.leaf("mosquitto", ends=20 * day), own.leaf("centre", ends=5 * day)
    client = own.leaf("gateway", ends=10 * day)
    with (
        TlsBroker(tmp_path, server, own.bundle) as broker,
        Campus(tmp_path, *serving(centre, own.bundle)) as campus,
        SimulatedButton(broker.plain) as button,
    ):
        gateway = Gateway(tmp_path, mutual_site(campus.centre_url, broker.url, own.bundle, client))
        with gateway:
            wanted = {
                "mqtt.url theirs soon": "CN=mosquitto",
                "centre.webhook.url theirs within days": "CN=centre",
                "centre.webhook.cert soon": "CN=gateway",
                "mqtt.cert soon": "CN=gateway",
            }
            faults = wait_for(
                lambda: (
                    found
                    if (
                        found := {s: c for (k, s), c in gateway.faults().items() if k == "certificate"}
                    ).keys()
                    >= wanted.keys()
                    else None
                ),
                within_s=20,
                what="a fault for each",
            )
            for subject, name in wanted.items():
                assert name in faults[subject]
            assert "its owner has to renew it" in faults["mqtt.url theirs soon"]
            assert "no press is heard" in faults["mqtt.cert soon"]
            assert "no alarm gets there" in faults["centre.webhook.cert soon"]
            button.press(topic(0))
            wait_for(campus.alarms, within_s=5, what="the press")
            probed = run_gateway(*gateway.command("check", "--probe")[4:])
            assert "4 days more; its owner has to renew it" in probed.stdout


def test_faults_attempts_and_the_probe_say_which_certificate_it_is(tmp_path: Path) -> None:
    """A broker of a foreign CA and a centre that does not know ours: the faults of broker and path say so in the words of
    the probe, and a press cannot be taken, which /readyz says."""
    own, foreign = StrangeCa(tmp_path / "own", "Own CA"), StrangeCa(tmp_path / "foreign", "Foreign CA")
    client = own.leaf("gateway")
    with (
        TlsBroker(tmp_path, foreign.leaf("mosquitto"), own.bundle) as broker,
        Campus(tmp_path, *serving(own.leaf("centre"), foreign.bundle)) as campus,
    ):
        gateway = Gateway(tmp_path, mutual_site(campus.centre_url, broker.url, own.bundle, client))
        gateway.child = Child(gateway.command("run"), log=gateway.log, cwd=tmp_path)
        try:
            gateway.http = gateway.child.first_line()["http"]
            broker_fault = wait_for(lambda: fault(gateway, "broker", "mqtt"), within_s=20, what="broker")
            path_fault = wait_for(lambda: fault(gateway, "path", "first"), within_s=20, what="path")
            assert not gateway.ready()
            probed = run_gateway(*gateway.command("check", "--probe")[4:])
        finally:
            gateway.child.terminate()
            gateway.child = None
    assert "TLS: the certificate of" in broker_fault
    assert "is of a foreign CA (CN=mosquitto" in broker_fault
    assert f"refuses our certificate {client.cert} (CN=gateway" in path_fault
    assert "it does not know the CA that issued it" in path_fault
    assert probed.returncode == 1
    for words in ("is of a foreign CA (CN=mosquitto", "it does not know the CA that issued it"):
        assert words in probed.stdout
