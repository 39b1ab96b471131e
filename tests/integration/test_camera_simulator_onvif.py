"""The simulated camera read by an ONVIF client that is not ours, its snapshot, and its faults over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import av
import cv2
import numpy as np
import pytest
from onvif import ONVIFCamera  # type: ignore[attr-defined]
from onvif.exceptions import ONVIFError

from simulators.camera.faults import CameraFaults
from simulators.camera.picture import Reading, read
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera
from tests.support.rtsp_player import play


def digest_client(camera: SimulatedCamera, password: str | None = None) -> aiohttp.ClientSession:
    """An HTTP client that logs in by digest."""
    login = aiohttp.DigestAuthMiddleware(camera.username, camera.password if password is None else password)
    return aiohttp.ClientSession(middlewares=(login,))


def pictured(jpeg: bytes) -> Reading:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return read(image)


async def reads_everything(
    camera: SimulatedCamera, *, password: str | None = None, adjust: bool = False
) -> str:
    """Do what a client does to find a stream; return its URI."""
    client = ONVIFCamera(
        "127.0.0.1", camera.onvif_port, camera.username, password or camera.password, adjust_time=adjust
    )
    try:
        await client.update_xaddrs()
        device = await client.create_devicemgmt_service()
        information = await device.GetDeviceInformation()
        assert information.SerialNumber == camera.name
        assert await device.GetScopes()
        assert (await device.GetHostname()).Name == camera.name
        assert (await device.GetNetworkInterfaces())[0].Info.MTU == 1500
        services = await device.GetServices({"IncludeCapability": False})
        assert [urlsplit(each.XAddr).port for each in services] == [camera.http_port] * 3
        media = await client.create_media_service()
        assert (await media.GetServiceCapabilities()).SnapshotUri is True
        (source,) = await media.GetVideoSources()
        assert (source.Resolution.Width, source.Resolution.Height) == (640, 360)
        (profile,) = await media.GetProfiles()
        assert profile.VideoEncoderConfiguration.Encoding == "H264"
        assert profile.VideoEncoderConfiguration.H264.GovLength == 25
        setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
        answer = await media.GetStreamUri({"ProfileToken": profile.token, "StreamSetup": setup})
        jpeg = await client.get_snapshot(profile.token)
        assert jpeg is not None
        assert abs(time.time() * 1000 - pictured(jpeg).unix_ms) < 2000
        uri: str = answer.Uri
        return uri
    finally:
        await client.close()


def with_camera(camera: SimulatedCamera, check: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with camera:
            await check()

    asyncio.run(run())


def test_a_strict_client_reads_everything() -> None:
    """A client built on the published definitions finds device, profile, stream and snapshot, and the stream plays."""
    camera = SimulatedCamera(name="gate")

    async def check() -> None:
        uri = await reads_everything(camera)
        assert uri == camera.rtsp_url
        login = uri.replace("rtsp://", f"rtsp://{camera.username}:{camera.password}@")
        assert len(await asyncio.to_thread(play, login, packets=3)) == 3

    with_camera(camera, check)


@pytest.mark.parametrize(
    ("media1_h265", "encodings"),
    [
        ("h264", {"profile_main": "H264", "profile_sub": "H264"}),
        ("bare", {"profile_main": None, "profile_sub": "H264"}),
        ("omit", {"profile_sub": "H264"}),
    ],
)
def test_media_says_of_an_h265_profile_what_it_is_told(
    media1_h265: str, encodings: dict[str, str | None]
) -> None:
    """A strict reader of the published definitions sees each make's way, and each profile's own stream and sound."""
    sub = StreamSettings(width=320, height=180, fps=10, gop=20)
    camera = SimulatedCamera(codec="h265", audio="pcma", sub=sub, media1_h265=media1_h265)

    async def check() -> None:
        client = ONVIFCamera("127.0.0.1", camera.onvif_port, camera.username, camera.password)
        try:
            await client.update_xaddrs()
            media = await client.create_media_service()
            profiles = {each.token: each for each in await media.GetProfiles()}
            found = {
                token: each.VideoEncoderConfiguration and each.VideoEncoderConfiguration.Encoding
                for token, each in profiles.items()
            }
            assert found == encodings
            small = profiles["profile_sub"].VideoEncoderConfiguration
            assert (small.Resolution.Width, small.RateControl.FrameRateLimit, small.H264.GovLength) == (
                320,
                10,
                20,
            )
            assert profiles["profile_sub"].AudioEncoderConfiguration.Encoding == "G711"
            configurations = await media.GetVideoEncoderConfigurations()
            assert len(configurations) == sum(each is not None for each in encodings.values())
            setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
            answer = await media.GetStreamUri({"ProfileToken": "profile_sub", "StreamSetup": setup})
            assert answer.Uri == camera.sub_url
            if "profile_main" not in encodings:
                with pytest.raises(Exception, match="profile_main"):
                    await media.GetStreamUri({"ProfileToken": "profile_main", "StreamSetup": setup})
        finally:
            await client.close()

    with_camera(camera, check)


def test_onvif_tells_the_present_settings() -> None:
    """After a change of the stream the profile has the new size, rate and distance of key frames."""
    camera = SimulatedCamera()

    async def check() -> None:
        await camera.set_faults(
            CameraFaults(change_width=320, change_height=180, change_fps=10, change_gop_s=10)
        )
        client = ONVIFCamera("127.0.0.1", camera.onvif_port, camera.username, camera.password)
        try:
            await client.update_xaddrs()
            (profile,) = await (await client.create_media_service()).GetProfiles()
            encoder = profile.VideoEncoderConfiguration
            assert (encoder.Resolution.Width, encoder.RateControl.FrameRateLimit) == (320, 10)
            assert encoder.H264.GovLength == 100
        finally:
            await client.close()

    with_camera(camera, check)


def test_a_wrong_password_reads_nothing() -> None:
    """The same client with another password is refused."""
    camera = SimulatedCamera()

    async def check() -> None:
        with pytest.raises(Exception, match="not authorized") as refused:
            await reads_everything(camera, password="wrong")
        assert isinstance(refused.value, Exception)

    with_camera(camera, check)


def test_a_skewed_camera_is_read_by_clients_that_correct_for_it() -> None:
    """Two minutes off: refused with the world's time, read with the camera's; the picture stays right."""
    camera = SimulatedCamera(faults=CameraFaults(clock_skew_s=-120))

    async def check() -> None:
        with pytest.raises(Exception, match="not authorized"):
            await reads_everything(camera)
        await reads_everything(camera, adjust=True)

    with_camera(camera, check)


def test_a_camera_behind_nat_names_an_address_of_its_own() -> None:
    """The stream URI names host and port that lead nowhere."""
    camera = SimulatedCamera()

    async def check() -> None:
        await camera.set_faults(CameraFaults(wrong_host="192.0.2.1", wrong_port=1554))
        client = ONVIFCamera("127.0.0.1", camera.onvif_port, camera.username, camera.password)
        try:
            # Asked for at the configured address, as the camera's own answers lead nowhere.
            device = await client.create_devicemgmt_service()
            services = await device.GetServices({"IncludeCapability": False})
            assert {urlsplit(each.XAddr).netloc for each in services} == {"192.0.2.1:1554"}
        finally:
            await client.close()

    with_camera(camera, check)


def test_the_snapshot_is_the_picture_of_now() -> None:
    """It wants digest, refuses basic and a wrong password, and shows the present moment in colour JPEG."""
    camera = SimulatedCamera()

    async def check() -> None:
        async with aiohttp.ClientSession() as stranger:
            async with stranger.get(camera.snapshot_url) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Digest ")
            basic = {"Authorization": aiohttp.encode_basic_auth(camera.username, camera.password)}
            async with stranger.get(camera.snapshot_url, headers=basic) as answer:
                assert answer.status == 401
        async with digest_client(camera, "wrong") as client, client.get(camera.snapshot_url) as answer:
            assert answer.status == 401
        async with digest_client(camera) as client:
            before_ms = int(time.time() * 1000)
            async with client.get(camera.snapshot_url) as answer:
                assert (answer.status, answer.content_type) == (200, "image/jpeg")
                reading = pictured(await answer.read())
            assert before_ms <= reading.unix_ms <= time.time() * 1000

    with_camera(camera, check)


def test_a_snapshot_can_be_slow_or_never_end() -> None:
    """With the faults the answer is late, stops half-way or is cut there; stopping the camera does not wait for it."""
    camera = SimulatedCamera(faults=CameraFaults(snapshot_delay_s=0.3))

    async def check() -> None:
        async with digest_client(camera) as client:
            begun_s = time.monotonic()
            async with client.get(camera.snapshot_url) as answer:
                pictured(await answer.read())
            assert time.monotonic() - begun_s >= 0.3
            await camera.set_faults(CameraFaults(snapshot_hangs=True))
            async with client.get(camera.snapshot_url) as answer:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(answer.read(), 0.3)
            await camera.set_faults(CameraFaults(snapshot_cut=True))
            async with client.get(camera.snapshot_url) as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
            await camera.set_faults(CameraFaults(snapshot_hangs=True))
            hanging = await client.get(camera.snapshot_url)
            begun_s = time.monotonic()
            await camera.stop()
            hanging.close()
            assert time.monotonic() - begun_s < 2

    with_camera(camera, check)


def test_faults_are_changed_over_http() -> None:
    """The control endpoint shows, changes and refuses, and works on a camera that is otherwise dead."""
    camera = SimulatedCamera()

    async def check() -> None:
        url = f"http://127.0.0.1:{camera.http_port}"
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/_faults", json={"frozen": True}) as answer:
                assert answer.status == 400
                assert "frozen" in (await answer.json())["error"]
            async with client.post(f"{url}/_faults", json={"refuse_connections": True}) as answer:
                assert (await answer.json())["refuse_connections"] is True
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await client.get(camera.snapshot_url)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", camera.rtsp_port)
            async with client.post(f"{url}/_faults", json={}) as answer:
                assert camera.faults == CameraFaults()
            assert len(await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=2)) == 2
            async with client.get(f"{url}/_status") as answer:
                assert (await answer.json())["sessions_total"] == 1

    with_camera(camera, check)


def test_a_camera_that_rejects_everybody() -> None:
    """With the fault the right password is refused by RTSP, snapshot and ONVIF."""
    camera = SimulatedCamera(faults=CameraFaults(reject_login=True))

    async def check() -> None:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=1)
        async with digest_client(camera) as client, client.get(camera.snapshot_url) as answer:
            assert answer.status == 401
        with pytest.raises((ONVIFError, Exception), match="not authorized"):
            await reads_everything(camera)

    with_camera(camera, check)
