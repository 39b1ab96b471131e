"""TLS on every side at once, with certificates of our own command: one press, the whole way, accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.button import SimulatedButton
from tests.support.certificates import OurCa, TlsBroker, caller, certs
from tests.support.processes import Campus, Gateway, free_port, run_gateway, site_yaml, topic, wait_for


@pytest.mark.slow
def test_a_press_goes_the_whole_way_over_tls(tmp_path: Path) -> None:
    """Mutual TLS to broker and centre and from the centre to the API: received, its pictures fetched, accepted by an operator."""
    ca = OurCa(tmp_path / "tls")
    api = ca.server("api", "127.0.0.1")
    broker = ca.server("broker", "127.0.0.1", "localhost")
    centre = ca.server("centre", "127.0.0.1")
    client = ca.client("gateway")
    desk = ca.client("centre-desk")
    words = [
        *("--tls-cert", str(centre.cert), "--tls-key", str(centre.key), "--client-ca", str(ca.bundle)),
        *("--school-ca", str(ca.bundle), "--school-cert", str(desk.cert), "--school-key", str(desk.key)),
        *("--auto", "accepted+0.2"),
    ]
    with (
        TlsBroker(tmp_path, broker, ca.bundle) as mosquitto,
        Campus(tmp_path, *words, cameras=1) as campus,
        SimulatedButton(mosquitto.plain) as button,
    ):
        secure = mosquitto.url
        assert campus.centre_url.startswith("https://")
        ours = f'ca: "{ca.bundle}", cert: "{client.cert}", key: "{client.key}"'
        site = site_yaml(
            broker=secure, centre=campus.centre_url, cameras=campus.cameras, listen=f"127.0.0.1:{free_port()}"
        )
        site = site.replace("secret: {env: CENTRE_SECRET}", f"secret: {{env: CENTRE_SECRET}}, {ours}")
        site = site.replace(f'mqtt: {{url: "{secure}"', f'mqtt: {{url: "{secure}", {ours}')
        site = site.replace(
            "http: {", f'http: {{tls: {{cert: "{api.cert}", key: "{api.key}", client_ca: "{ca.bundle}"}}, '
        )
        gateway = Gateway(tmp_path, site)
        gateway.tls = caller(ca.bundle, client)
        checked = run_gateway(*gateway.command("check", "--probe")[4:])
        print(checked.stdout)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "certificate 证书 mqtt.url" in checked.stdout
        with gateway:
            assert gateway.http.startswith("https://")
            wait_for(lambda: gateway.rings_hold(2), within_s=30, what="the ring holds 2 s")
            button.press(topic(0))
            wait_for(
                lambda: [a for a in campus.alarms() if a["state"] == "accepted"],
                within_s=10,
                what="accepted at the centre",
            )
            wait_for(
                lambda: [a for a in gateway.alarms() if a["state"] == "accepted"],
                within_s=5,
                what="accepted here",
            )
            wait_for(
                lambda: [
                    e for e in campus.alarms()[0]["evidence"] if e["problem"] is None and e.get("fetched_s")
                ],
                within_s=20,
                what="a picture fetched over https",
            )
            assert not [kind for kind, _ in gateway.faults() if kind != "clock"], gateway.faults()
    assert "824 days" in certs("show", "--dir", str(ca.folder))
