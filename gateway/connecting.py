"""Reaching what the site file names: how its broker, its centre and its cameras are spoken to.

Shared by the wiring, which runs them, and by probing, which tries them.
"""

from __future__ import annotations

import os
import secrets
import ssl
from pathlib import Path

from config.settings import Settings
from config.site import Camera
from drivers.cameras.spec import CameraSpec, OnvifAddress, StreamAddress
from drivers.contacts.mqtt import BrokerAddress
from drivers.uplinks.webhook import WebhookPath
from gateway.domain.errors import Refused
from gateway.ports import Clock

KEY_BYTES = 32


def own_key(path: Path) -> bytes:
    """The key that signs links: made once, kept by this box alone. Raises ``Refused`` if what is kept is no key."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)  # left by a crash
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise Refused(
            f"{path} is not a key of {KEY_BYTES} bytes; remove it, and links sent so far stop working"
        )
    return key


def broker_address(settings: Settings) -> BrokerAddress:
    """The broker of the site file, with its certificates read. Raises ``Refused`` where they cannot be used."""
    mqtt = settings.site.mqtt
    client_id = settings.mqtt_client_id
    if mqtt.address is None:
        # The embedded broker's private port is known once it has started; see Gateway._arm.
        return BrokerAddress(host="127.0.0.1", port=0, client_id=client_id)
    return BrokerAddress(
        host=mqtt.address.host,
        port=mqtt.address.port,
        client_id=client_id,
        username=mqtt.username,
        password=mqtt.password.reveal() if mqtt.password else None,
        tls=tls_context(settings, mqtt.ca, mqtt.cert, mqtt.key) if mqtt.address.scheme == "mqtts" else None,
    )


def centre_paths(settings: Settings, clock: Clock) -> list[WebhookPath]:
    """The ways to the 110 centre, first and second, not opened. Raises ``Refused`` for certificates that cannot be used."""
    hook = settings.site.centre.webhook
    urls = [("first", hook.url)] + ([("second", hook.backup_url)] if hook.backup_url else [])
    secure = any(url.startswith("https:") for _, url in urls)
    tls = tls_context(settings, hook.ca, hook.cert, hook.key) if secure else None
    return [WebhookPath(name, url, hook.secret.reveal(), clock, tls) for name, url in urls]


def tls_context(settings: Settings, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """What a client needs for TLS, its files taken from beside the site file. Raises ``Refused`` naming them."""
    beside = settings.beside_site_file
    try:
        context = ssl.create_default_context(cafile=str(beside(ca)) if ca else None)
        if cert:
            context.load_cert_chain(str(beside(cert)), str(beside(key)) if key else None)
    except (OSError, ssl.SSLError) as exc:
        raise Refused(f"the certificates {ca}, {cert}, {key} cannot be used: {exc}") from exc
    return context


def camera_spec(camera: Camera) -> CameraSpec:
    """How the camera process reaches a camera of the site file."""
    onvif, stream = camera.onvif, camera.stream
    return CameraSpec(
        id=camera.id,
        onvif=OnvifAddress(
            host=onvif.host,
            port=onvif.port,
            username=onvif.username or "",
            password=onvif.password.reveal() if onvif.password else "",
        )
        if onvif
        else None,
        stream=StreamAddress(
            url=stream.url,
            live_url=stream.live_url,
            username=stream.username or "",
            password=stream.password.reveal() if stream.password else "",
        )
        if stream
        else None,
        audio=camera.audio,
    )
