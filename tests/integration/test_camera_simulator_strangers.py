"""The simulated camera read by npm's `onvif`, a client from another language and other authors.

The package is looked for in the folder that CAMPUS_NODE_MODULES names.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from simulators.camera.faults import CameraFaults
from simulators.camera.settings import StreamSettings
from simulators.camera.simulated import SimulatedCamera

_READ = """
const { Cam } = require('onvif');
const [port, password] = process.argv.slice(1);
const end = (error) => { console.error(String(error)); process.exit(3); };
new Cam({ hostname: '127.0.0.1', port: +port, username: 'admin', password, timeout: 5000 }, function (error) {
  if (error) end(error);
  const seen = { profiles: this.profiles, source: this.activeSource };
  this.getDeviceInformation((error, device) => { if (error) end(error);
    this.getStreamUri({ protocol: 'RTSP' }, (error, stream) => { if (error) end(error);
      this.getSnapshotUri((error, snapshot) => { if (error) end(error);
        this.getSystemDateAndTime((error, now) => { if (error) end(error);
          console.log(JSON.stringify({ ...seen, device, stream, snapshot, now }));
        }); }); }); });
});
"""


def read_by_npm_onvif(camera: SimulatedCamera, password: str) -> subprocess.CompletedProcess[str]:
    """Run the client in node; skip the test where it is not installed."""
    modules = os.environ.get("CAMPUS_NODE_MODULES")
    node = shutil.which("node")
    if not modules or not (Path(modules) / "onvif").is_dir() or node is None:
        reason = (
            f"npm's onvif: CAMPUS_NODE_MODULES is {modules!r} and node is {node!r}, "
            "expected a folder with onvif 0.8 in it and node on the path"
        )
        if os.environ.get("CAMPUS_TEST_STRICT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return subprocess.run(
        [node, "-e", _READ, str(camera.onvif_port), password],
        env={**os.environ, "NODE_PATH": modules},
        capture_output=True,
        text=True,
        timeout=30,
    )


def against(camera: SimulatedCamera, password: str) -> subprocess.CompletedProcess[str]:
    async def run() -> subprocess.CompletedProcess[str]:
        async with camera:
            return await asyncio.to_thread(read_by_npm_onvif, camera, password)

    return asyncio.run(run())


@pytest.mark.parametrize("media2", [True, False])
@pytest.mark.parametrize("skew_s", [0.0, 300.0])
def test_npm_onvif_reads_the_camera(skew_s: float, media2: bool) -> None:
    """It finds profile, encoder, stream and snapshot by either media service, whatever the camera's clock says."""
    camera = SimulatedCamera(name="gate", media2=media2, faults=CameraFaults(clock_skew_s=skew_s))
    finished = against(camera, camera.password)
    assert (finished.returncode, finished.stderr) == (0, "")
    seen = json.loads(finished.stdout)
    assert seen["device"]["serialNumber"] == "gate"
    assert seen["stream"]["uri"] == camera.rtsp_url
    assert seen["snapshot"]["uri"] == camera.snapshot_url
    assert seen["source"]["encoding"] == "H264"
    assert (seen["source"]["width"], seen["source"]["height"]) == (640, 360)
    assert len(seen["profiles"]) == 1


def test_npm_onvif_reads_an_h265_camera_by_media2() -> None:
    """Media2, which it prefers, says H.265 of the main profile and H.264 of the sub profile, with their own settings."""
    sub = StreamSettings(width=320, height=180, fps=10, gop=30)
    camera = SimulatedCamera(codec="h265", gop=50, audio="aac", sub=sub)
    finished = against(camera, camera.password)
    assert (finished.returncode, finished.stderr) == (0, "")
    seen = json.loads(finished.stdout)
    assert [each["$"]["token"] for each in seen["profiles"]] == ["profile_main", "profile_sub"]
    main, small = (each["videoEncoderConfiguration"] for each in seen["profiles"])
    assert (main["encoding"], main["resolution"], main["$"]["GovLength"]) == (
        "H265",
        {"width": 640, "height": 360},
        50,
    )
    assert (small["encoding"], small["resolution"], small["rateControl"]["frameRateLimit"]) == (
        "H264",
        {"width": 320, "height": 180},
        10,
    )
    assert {each["audioEncoderConfiguration"]["encoding"] for each in seen["profiles"]} == {"MP4A-LATM"}
    assert (seen["stream"]["uri"], seen["snapshot"]["uri"]) == (camera.rtsp_url, camera.snapshot_url)


def test_npm_onvif_is_refused_with_a_wrong_password() -> None:
    """It reports that it is not authorized."""
    finished = against(SimulatedCamera(), "wrong")
    assert finished.returncode == 3
    assert "authorized" in finished.stderr.lower()
