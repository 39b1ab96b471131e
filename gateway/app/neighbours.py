"""Reaching what the site file names: how its broker, its centre, its cameras and its store are spoken to.

Shared by the wiring, which runs them, and by probing, which tries them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from config.addresses import Url, parse_url
from config.secret import Secret, SecretRefused
from config.settings import Settings
from config.site import Camera
from drivers.cameras.spec import CameraSpec, OnvifAddress, StreamAddress
from drivers.contacts.address import BrokerAddress
from drivers.tls.contexts import TlsContext, TlsFiles, client_context, contexts_of, server_context
from drivers.uplinks.media_push import MediaPush
from drivers.uplinks.webhook import WebhookPath
from gateway.app.broker_session import FILE as SESSION_FILE
from gateway.app.broker_session import BrokerSession
from gateway.domain.errors import Refused
from gateway.ports.clock import Clock
from storage.objects.local import LocalObjects
from storage.objects.s3 import S3Objects
from storage.objects.s3_address import S3Address


def broker_session(settings: Settings, clock: Clock, *, upgraded: bool) -> BrokerSession | None:
    """What is remembered of the session at the broker; ``None`` for the embedded one, which keeps none. ``upgraded`` as there."""
    address = settings.site.mqtt.address
    if address is None:
        return None
    return BrokerSession(
        settings.data_dir / SESSION_FILE,
        clock,
        where=f"{address.host}:{address.port}",
        given=settings.site.mqtt.client_id,
        plain=settings.mqtt_client_id,
        upgraded=upgraded,
    )


def broker_address(settings: Settings, client_id: str | None = None) -> BrokerAddress:
    """The broker of the site file, with its certificates read. Raises ``Refused`` where they cannot be used."""
    mqtt = settings.site.mqtt
    client_id = client_id or settings.mqtt_client_id
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
    drills = hook.drill_secret.reveal() if hook.drill_secret else None
    answer_secret = hook.answer_secret.reveal() if hook.answer_secret else None
    return [
        WebhookPath(
            name,
            url,
            hook.secret.reveal(),
            clock,
            tls,
            drills,
            answer_secret=answer_secret,
            believe_unsigned=parse_url(url, "http", "https").on_loopback,
        )
        for name, url in urls
    ]


def object_store(
    settings: Settings, clock: Clock, on_record: Callable[[], Awaitable[bool]] | None = None
) -> LocalObjects | S3Objects:
    """Where evidence is kept, not started. ``on_record`` says whether any object is, for whoever will start it. Raises
    ``Refused`` for a CA that cannot be used."""
    storage = settings.site.storage
    if settings.objects_dir is not None:
        known = settings.data_dir / "objects.mark"
        return LocalObjects(settings.objects_dir, known=known, on_record=on_record)
    assert storage.object_store is not None
    url, bucket = storage.object_store
    # The rules of the site file have seen to both keys.
    assert storage.access_key is not None
    assert storage.secret_key is not None
    host = f"[{url.host}]" if ":" in url.host else url.host
    address = S3Address(
        endpoint=f"{host}:{url.port}",
        bucket=bucket,
        access_key=storage.access_key.reveal(),
        secret_key=storage.secret_key.reveal(),
        region=storage.region,
        tls=tls_context(settings, storage.ca, None, None) if url.scheme == "s3+https" else None,
        prefix=f"{settings.site.site.id}/",
    )
    return S3Objects(address, clock, random.Random(), lock_required=storage.lock == "required")


def media_push(settings: Settings) -> MediaPush | None:
    """Where evidence is PUT, not opened; ``None`` where the centre fetches it. Raises ``Refused`` as :func:`centre_paths`."""
    centre = settings.site.centre
    if centre.media != "push" or centre.media_url is None or centre.media_token is None:
        return None
    hook = centre.webhook
    secure = centre.media_url.startswith("https:")
    tls = tls_context(settings, hook.ca, hook.cert, hook.key) if secure else None
    return MediaPush(centre.media_url, centre.media_token.reveal(), tls)


def tls_context(settings: Settings, ca: str | None, cert: str | None, key: str | None) -> TlsContext:
    """What a client needs for TLS, its files taken from beside the site file. Raises ``Refused`` naming the one that cannot
    be used. Every context made here takes up renewed files; see :func:`take_up`."""
    return client_context(_files(settings, ca, cert, key))


def api_context(settings: Settings) -> TlsContext | None:
    """What the HTTP face serves with; ``None`` for plain HTTP. Raises ``Refused`` naming the file that cannot be used."""
    tls = settings.site.http.tls
    return None if tls is None else server_context(_files(settings, tls.client_ca, tls.cert, tls.key))


def tls_sections(settings: Settings) -> dict[str, TlsFiles]:
    """The files of every TLS side the site file names, by section."""
    site = settings.site
    found: dict[str, TlsFiles] = {}
    if site.http.tls is not None:
        found["http.tls"] = _files(settings, site.http.tls.client_ca, site.http.tls.cert, site.http.tls.key)
    for section, part in (("centre.webhook", site.centre.webhook), ("mqtt", site.mqtt)):
        if part.ca or part.cert:
            found[section] = _files(settings, part.ca, part.cert, part.key)
    if site.storage.ca:
        found["storage"] = _files(settings, site.storage.ca, None, None)
    return found


def take_up(settings: Settings) -> dict[str, str]:
    """Put renewed files to use in every context made of them; what cannot be used, by section."""
    refused: dict[str, str] = {}
    for section, files in tls_sections(settings).items():
        for context in contexts_of(files):
            try:
                context.renew()
            except Refused as exc:
                refused[section] = exc.reason
    return refused


def unusable_tls(settings: Settings) -> dict[str, str]:
    """What of the site file's certificates a start would be refused for, by section; nothing is kept or connected."""
    refused: dict[str, str] = {}
    for section, files in tls_sections(settings).items():
        try:
            (server_context if section == "http.tls" else client_context)(files)
        except Refused as exc:
            refused[section] = exc.reason
    return refused


def tls_peers(settings: Settings) -> dict[str, tuple[Url, TlsFiles]]:
    """Whoever shows the gateway a certificate: address and what it is spoken to with, by key of the site file."""
    site = settings.site
    hook, mqtt, storage = site.centre.webhook, site.mqtt, site.storage
    found: dict[str, tuple[Url, TlsFiles]] = {}
    urls = {
        "centre.webhook.url": hook.url,
        "centre.webhook.backup_url": hook.backup_url,
        "centre.media_url": site.centre.media_url,
    }
    seen: set[tuple[str, int]] = set()
    for key, url in urls.items():
        address = parse_url(url, "http", "https") if url else None
        if address is not None and address.scheme == "https" and (address.host, address.port) not in seen:
            seen.add((address.host, address.port))
            found[key] = (address, _files(settings, hook.ca, hook.cert, hook.key))
    if mqtt.address is not None and mqtt.address.scheme == "mqtts":
        found["mqtt.url"] = (mqtt.address, _files(settings, mqtt.ca, mqtt.cert, mqtt.key))
    store = storage.object_store
    if store is not None and store[0].scheme == "s3+https":
        found["storage.objects"] = (store[0], _files(settings, storage.ca, None, None))
    return found


def _files(settings: Settings, ca: str | None, cert: str | None, key: str | None) -> TlsFiles:
    beside = settings.beside_site_file
    return TlsFiles(
        ca=beside(ca) if ca else None, cert=beside(cert) if cert else None, key=beside(key) if key else None
    )


def camera_spec(camera: Camera) -> CameraSpec:
    """How the camera process reaches a camera of the site file."""
    onvif, stream = camera.onvif, camera.stream
    login = onvif or stream
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
            sub_url=stream.sub_url,
            username=stream.username or "",
            password=stream.password.reveal() if stream.password else "",
        )
        if stream
        else None,
        audio=camera.audio,
        record=camera.record == "continuous",
        reread_password=_rereading(login.password)
        if login is not None and login.password is not None
        else None,
    )


def _rereading(password: Secret) -> Callable[[], str | None] | None:
    """How a password that stands in a file is read again; ``None`` for one that stands elsewhere."""

    def read() -> str | None:
        try:
            return password.again().reveal()
        except SecretRefused:
            return None

    return read if password.given == "file" else None
