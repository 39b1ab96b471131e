"""GStreamer's RTSP server with a moving picture: a camera that is not ours. Run by the system's Python, which has its bindings.

Prints its port. All mounts have several slices a frame and are behind digest authentication: ``/bare`` has its parameter sets in
the session description only, ``/plain`` before each key frame too, ``/talking`` even between the slices of each key frame, as no
standard has it and the server does it, with G.711 sound beside.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

VIDEO = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=25/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=800 threads=2 option-string=repeat-headers={} ! "
)
MOUNTS = {
    "/bare": f"( {VIDEO.format(0)} video/x-h264,stream-format=avc ! rtph264pay name=pay0 pt=96 config-interval=0 )",
    "/plain": f"( {VIDEO.format(1)} rtph264pay name=pay0 pt=96 config-interval=0 )",
    "/talking": f"( {VIDEO.format(1)} rtph264pay name=pay0 pt=96 config-interval=-1 "
    "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8 )",
}


def main() -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest("viewer", sys.argv[1], token)
    server.set_auth(auth)
    for path, launch in MOUNTS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.set_shared(True)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
