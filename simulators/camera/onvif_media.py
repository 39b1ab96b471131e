"""ONVIF's two media services over the same profiles: Media (version 10), which knows no H.265, and Media2 (version 20).

Source of the shapes: the ONVIF media, media2 and schema definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from simulators.camera.h264 import StreamDescription
from simulators.camera.settings import MEDIA1_H265
from simulators.camera.soap import MEDIA1, MEDIA2, Operation, Refused

_MULTICAST = (
    "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type><tt:IPv4Address>0.0.0.0</tt:IPv4Address></tt:Address>"
    "<tt:Port>0</tt:Port><tt:TTL>1</tt:TTL><tt:AutoStart>false</tt:AutoStart></tt:Multicast>"
)
_H264_PROFILES = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High"}
_BITRATE_LIMIT_KBIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedSound:
    """What ONVIF tells of a profile's sound."""

    codec: str
    """One of `simulators.camera.settings.AUDIO_CODECS`."""
    rate_hz: int
    bits_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedProfile:
    """What ONVIF tells of one stream."""

    token: str
    path: str
    """On the RTSP port."""
    about: StreamDescription
    sound: OfferedSound | None = None

    @property
    def name(self) -> str:
        """A name for people."""
        return self.token.removeprefix("profile_")


class MediaService:
    """Both services; `stream_uri` and `snapshot_uri` make a URI for a path and the host the client asked for."""

    def __init__(
        self,
        *,
        profiles: Callable[[], Sequence[OfferedProfile]],
        media1_h265: str,
        stream_uri: Callable[[str, str], str],
        snapshot_uri: Callable[[str], str],
    ) -> None:
        if media1_h265 not in MEDIA1_H265:
            raise ValueError(f"media1_h265 is {media1_h265!r}: expected one of {', '.join(MEDIA1_H265)}")
        self._profiles = profiles
        self._media1_h265 = media1_h265
        self._stream_uri, self._snapshot_uri = stream_uri, snapshot_uri

    def media1(self) -> dict[str, Operation]:
        """Return the operations of Media by name."""
        return {
            "GetServiceCapabilities": lambda _, __: (
                '<trt:Capabilities SnapshotUri="true">'
                f'<trt:ProfileCapabilities MaximumNumberOfProfiles="{len(self._profiles())}"/>'
                '<trt:StreamingCapabilities RTPMulticast="false" RTP_TCP="false" RTP_RTSP_TCP="true"/>'
                "</trt:Capabilities>"
            ),
            "GetProfiles": lambda _, __: "".join(
                self._media1_profile("Profiles", each) for each in self._media1_profiles()
            ),
            "GetProfile": lambda request, _: self._media1_profile("Profile", self._named(request, MEDIA1)),
            "GetVideoEncoderConfigurations": lambda _, __: "".join(
                _media1_encoder("trt:Configurations", each)
                for each in self._media1_profiles()
                if self._has_encoder(each)
            ),
            "GetVideoSources": self._video_sources,
            "GetStreamUri": lambda request, host: _media1_uri(
                self._stream_uri(self._named(request, MEDIA1).path, host)
            ),
            "GetSnapshotUri": lambda request, host: _media1_uri(self._snapshot_of(request, host, MEDIA1)),
        }

    def media2(self) -> dict[str, Operation]:
        """Return the operations of Media2 by name."""
        return {
            "GetServiceCapabilities": lambda _, __: (
                '<tr2:Capabilities SnapshotUri="true"><tr2:ProfileCapabilities '
                f'MaximumNumberOfProfiles="{len(self._profiles())}" '
                'ConfigurationsSupported="VideoSource VideoEncoder AudioSource AudioEncoder"/>'
                '<tr2:StreamingCapabilities RTSPStreaming="true" RTPMulticast="false" RTP_RTSP_TCP="true"/>'
                "</tr2:Capabilities>"
            ),
            "GetProfiles": self._media2_profiles,
            "GetVideoSourceConfigurations": lambda _, __: _source(
                "tr2:Configurations", self._profiles()[0].about
            ),
            "GetVideoEncoderConfigurations": self._media2_encoders,
            "GetStreamUri": self._media2_stream_uri,
            "GetSnapshotUri": lambda request, host: (
                f"<tr2:Uri>{self._snapshot_of(request, host, MEDIA2)}</tr2:Uri>"
            ),
        }

    def _media1_profiles(self) -> list[OfferedProfile]:
        """Return the profiles that Media names at all."""
        return [
            each for each in self._profiles() if each.about.codec == "h264" or self._media1_h265 != "omit"
        ]

    def _has_encoder(self, profile: OfferedProfile) -> bool:
        return profile.about.codec == "h264" or self._media1_h265 == "h264"

    def _named(self, request: ElementTree.Element, namespace: str) -> OfferedProfile:
        """Return the profile that the request's ProfileToken names; raises `Refused`."""
        offered = self._media1_profiles() if namespace == MEDIA1 else self._profiles()
        return _found(request.findtext(f"{{{namespace}}}ProfileToken", ""), offered)

    def _snapshot_of(self, request: ElementTree.Element, host: str, namespace: str) -> str:
        """Return the one snapshot's URI, after a look whether the profile exists."""
        self._named(request, namespace)
        return self._snapshot_uri(host)

    def _media1_profile(self, element: str, profile: OfferedProfile) -> str:
        sound = profile.sound
        return (
            f'<trt:{element} token="{profile.token}" fixed="true"><tt:Name>{profile.name}</tt:Name>'
            + _source("tt:VideoSourceConfiguration", self._profiles()[0].about)
            + (_audio_source("tt:AudioSourceConfiguration") if sound else "")
            + (_media1_encoder("tt:VideoEncoderConfiguration", profile) if self._has_encoder(profile) else "")
            + (_media1_sound(sound) if sound else "")
            + f"</trt:{element}>"
        )

    def _video_sources(self, _: ElementTree.Element, __: str) -> str:
        about = self._profiles()[0].about
        return (
            f'<trt:VideoSources token="source_1"><tt:Framerate>{about.fps}</tt:Framerate><tt:Resolution>'
            f"<tt:Width>{about.width}</tt:Width><tt:Height>{about.height}</tt:Height></tt:Resolution></trt:VideoSources>"
        )

    def _media2_profiles(self, request: ElementTree.Element, _: str) -> str:
        token = request.findtext(f"{{{MEDIA2}}}Token")
        offered = self._profiles() if token is None else [_found(token, self._profiles())]
        # Without a type there are no configurations in the answer.
        wanted = {each.text or "" for each in request.findall(f"{{{MEDIA2}}}Type")}
        return "".join(self._media2_profile(each, wanted) for each in offered)

    def _media2_profile(self, profile: OfferedProfile, wanted: set[str]) -> str:
        sound = profile.sound
        parts = {
            "VideoSource": _source("tr2:VideoSource", self._profiles()[0].about),
            "AudioSource": _audio_source("tr2:AudioSource") if sound else "",
            "VideoEncoder": _media2_encoder("tr2:VideoEncoder", profile),
            "AudioEncoder": _media2_sound(sound) if sound else "",
        }
        inside = "".join(part for kind, part in parts.items() if "All" in wanted or kind in wanted)
        configurations = f"<tr2:Configurations>{inside}</tr2:Configurations>" if inside else ""
        return (
            f'<tr2:Profiles token="{profile.token}" fixed="true"><tr2:Name>{profile.name}</tr2:Name>'
            f"{configurations}</tr2:Profiles>"
        )

    def _media2_encoders(self, request: ElementTree.Element, _: str) -> str:
        profile, token = (
            request.findtext(f"{{{MEDIA2}}}{name}") for name in ("ProfileToken", "ConfigurationToken")
        )
        offered = self._profiles() if profile is None else [_found(profile, self._profiles())]
        chosen = [each for each in offered if token in (None, _encoder_token(each))]
        if not chosen:
            known = ", ".join(_encoder_token(each) for each in offered)
            raise Refused(
                "Sender", "InvalidArgVal/NoConfig", f"encoder {token!r} does not exist, expected {known}"
            )
        return "".join(_media2_encoder("tr2:Configurations", each) for each in chosen)

    def _media2_stream_uri(self, request: ElementTree.Element, host: str) -> str:
        profile = self._named(request, MEDIA2)
        protocol = request.findtext(f"{{{MEDIA2}}}Protocol", "")
        # The URI of both is the same, as on most cameras; that UDP is not to be had shows at SETUP.
        if protocol not in ("RTSP", "RtspUnicast"):
            raise Refused(
                "Sender",
                "InvalidArgVal/InvalidStreamSetup",
                f"protocol {protocol!r} is not served, expected RTSP or RtspUnicast",
            )
        return f"<tr2:Uri>{self._stream_uri(profile.path, host)}</tr2:Uri>"


def _found(token: str, offered: Sequence[OfferedProfile]) -> OfferedProfile:
    for profile in offered:
        if profile.token == token:
            return profile
    known = ", ".join(each.token for each in offered) or "none, as there is none"
    raise Refused("Sender", "InvalidArgVal/NoProfile", f"profile {token!r} does not exist, expected {known}")


def _encoder_token(profile: OfferedProfile) -> str:
    return f"encoder_{profile.name}"


def _source(element: str, about: StreamDescription) -> str:
    return (
        f'<{element} token="source_config"><tt:Name>source</tt:Name><tt:UseCount>1</tt:UseCount>'
        "<tt:SourceToken>source_1</tt:SourceToken>"
        f'<tt:Bounds x="0" y="0" width="{about.width}" height="{about.height}"/></{element}>'
    )


def _audio_source(element: str) -> str:
    return (
        f'<{element} token="microphone_config"><tt:Name>microphone</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:SourceToken>microphone_1</tt:SourceToken></{element}>"
    )


def _resolution(about: StreamDescription) -> str:
    return f"<tt:Resolution><tt:Width>{about.width}</tt:Width><tt:Height>{about.height}</tt:Height></tt:Resolution>"


def _media1_encoder(element: str, profile: OfferedProfile) -> str:
    about = profile.about
    shape = _H264_PROFILES.get(about.sps[1], "High") if about.codec == "h264" else "High"
    return (
        f'<{element} token="{_encoder_token(profile)}"><tt:Name>encoder {profile.name}</tt:Name>'
        f"<tt:UseCount>1</tt:UseCount><tt:Encoding>H264</tt:Encoding>{_resolution(about)}<tt:Quality>5</tt:Quality>"
        f"<tt:RateControl><tt:FrameRateLimit>{about.fps}</tt:FrameRateLimit>"
        f"<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>{_BITRATE_LIMIT_KBIT}</tt:BitrateLimit>"
        f"</tt:RateControl><tt:H264><tt:GovLength>{about.gop}</tt:GovLength>"
        f"<tt:H264Profile>{shape}</tt:H264Profile></tt:H264>"
        f"{_MULTICAST}<tt:SessionTimeout>PT60S</tt:SessionTimeout></{element}>"
    )


def _media2_encoder(element: str, profile: OfferedProfile) -> str:
    about = profile.about
    shape = _H264_PROFILES.get(about.sps[1], "High") if about.codec == "h264" else "Main"
    return (
        f'<{element} token="{_encoder_token(profile)}" GovLength="{about.gop}" Profile="{shape}">'
        f"<tt:Name>encoder {profile.name}</tt:Name><tt:UseCount>1</tt:UseCount>"
        f"<tt:Encoding>{about.codec.upper()}</tt:Encoding>{_resolution(about)}"
        f'<tt:RateControl ConstantBitRate="false"><tt:FrameRateLimit>{about.fps}</tt:FrameRateLimit>'
        f"<tt:BitrateLimit>{_BITRATE_LIMIT_KBIT}</tt:BitrateLimit></tt:RateControl>"
        f"{_MULTICAST}<tt:Quality>5</tt:Quality></{element}>"
    )


def _media1_sound(sound: OfferedSound) -> str:
    return (
        '<tt:AudioEncoderConfiguration token="sound_config"><tt:Name>sound</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{'AAC' if sound.codec == 'aac' else 'G711'}</tt:Encoding>"
        # In kbit/s and kHz.
        f"<tt:Bitrate>{sound.bits_per_s // 1000}</tt:Bitrate><tt:SampleRate>{sound.rate_hz // 1000}</tt:SampleRate>"
        f"{_MULTICAST}<tt:SessionTimeout>PT60S</tt:SessionTimeout></tt:AudioEncoderConfiguration>"
    )


def _media2_sound(sound: OfferedSound) -> str:
    return (
        '<tr2:AudioEncoder token="sound_config"><tt:Name>sound</tt:Name><tt:UseCount>1</tt:UseCount>'
        f"<tt:Encoding>{'MP4A-LATM' if sound.codec == 'aac' else sound.codec.upper()}</tt:Encoding>{_MULTICAST}"
        f"<tt:Bitrate>{sound.bits_per_s // 1000}</tt:Bitrate><tt:SampleRate>{sound.rate_hz // 1000}</tt:SampleRate>"
        "</tr2:AudioEncoder>"
    )


def _media1_uri(uri: str) -> str:
    return (
        f"<trt:MediaUri><tt:Uri>{uri}</tt:Uri><tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
        "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout></trt:MediaUri>"
    )
