"""The site file as frozen models: every key, its type, its default, and what holds within one entry.

What holds between entries (references, sources, exposure of secrets) is in `rules`; `loading.load_site`
applies both. Nothing here reads a file except to follow `{file: PATH}`. Descriptions are repeated, with
the source of each number, in REFERENCE.md, and a test holds the two together. One file, as the site file is one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from config.addresses import Url, parse_listen, parse_url
from config.kinds import (
    KEY_TARGET_DAYS_MIN,
    ActionWord,
    BrokerAddress,
    DatabaseAddress,
    FilePath,
    Host,
    Id,
    Input,
    Latitude,
    Listen,
    Longitude,
    LoopbackListen,
    Name,
    ObjectsAddress,
    Port,
    PressTopic,
    RetentionDays,
    StreamAddress,
    Text,
    TimeOfDay,
    Timezone,
    Topic,
    UserName,
    WebAddress,
    WebhookSecret,
    WebPlace,
    Word,
    parse_broker,
    parse_store,
    refused,
)
from config.secret import Secret

ZoneKind = Literal[
    "gate", "passage", "corridor", "classroom", "dormitory", "dormitory-room",
    "toilet", "changing", "office", "playground", "canteen", "other",
]  # fmt: skip
MqttFormat = Literal[
    "gateway", "zigbee2mqtt", "tasmota", "shelly-gen1", "shelly-gen2", "esphome",
    "chirpstack", "advantech", "sparkplug-b", "onvif-mqtt", "json",
]  # fmt: skip
Contact = Literal["normally-open", "normally-closed"]
Flag = Literal["state", "push"]
Severity = Literal["panic", "duress", "fire", "medical"]
Record = Literal["continuous", "alarms-only"]
Degradation = Literal["substream", "keyframes", "stop"]
Role = Literal["centre", "guard", "technician", "inspector"]


def _degradation(steps: tuple[Degradation, ...]) -> tuple[Degradation, ...]:
    if len(set(steps)) != len(steps) or "stop" in steps[:-1]:
        raise refused("each step once, and nothing after stop", "for example [substream, keyframes, stop]")
    return steps


WhenFull = Annotated[tuple[Degradation, ...], AfterValidator(_degradation)]


class Section(BaseModel):
    """A mapping of the site file: unknown keys and wrong types are refused, and it never changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class Location(Section):
    lat: Latitude = Field(description="Latitude in degrees, WGS 84.")
    lon: Longitude = Field(description="Longitude in degrees, WGS 84.")


class School(Section):
    id: Id = Field(
        description="Stable id of the school; part of every message's source and every object's key."
    )
    name: Name = Field(description="The school's name as the 110 operator reads it.")
    address: Text = Field(description="Where the police drive to.")
    location: Location = Field(description="Where the school lies.")
    timezone: Timezone = Field(
        default="Asia/Shanghai", description="IANA time zone in which times are shown."
    )
    key_target: bool = Field(
        default=False,
        description="Whether it is a designated key target (重点目标): recordings are then kept for 90 days or more.",
    )


class Zone(Section):
    id: Id = Field(description="Id of the zone, unique among zones.")
    name: Name = Field(description="The zone's name as the 110 operator reads it.")
    kind: ZoneKind = Field(
        description="What kind of place it is; decides where cameras may stand and must record."
    )
    building: Name | None = Field(default=None, description="The building it lies in.")
    floor: Annotated[int, Field(ge=-20, le=200)] | None = Field(
        default=None, description="The floor it lies on; basements are negative."
    )


class Onvif(Section):
    host: Host = Field(description="Host name or IP address of the camera.")
    port: Port = Field(default=80, description="Port of the camera's ONVIF device service.")
    username: UserName | None = Field(default=None, description="ONVIF user.")
    password: Secret | None = Field(default=None, description="The ONVIF user's password.")


class Stream(Section):
    url: StreamAddress = Field(description="RTSP address of a camera without ONVIF.")
    live_url: StreamAddress | None = Field(
        default=None, description="Its second stream, H.264, to be shown live where the first one is H.265."
    )
    sub_url: StreamAddress | None = Field(
        default=None, description="Its second, smaller stream, to be recorded while room is short."
    )
    username: UserName | None = Field(default=None, description="RTSP user.")
    password: Secret | None = Field(default=None, description="The RTSP user's password.")

    @model_validator(mode="after")
    def _one_camera(self) -> Stream:
        for key, url in (("live_url", self.live_url), ("sub_url", self.sub_url)):
            if url is not None and parse_url(url, "rtsp", "rtsps").host != self.address.host:
                raise refused(f"{key} on the host of url, {self.address.host}", "one camera has one address")
        if self.sub_url == self.url:
            raise refused("sub_url another address than url", "name the camera's smaller stream, or none")
        return self

    @property
    def address(self) -> Url:
        return parse_url(self.url, "rtsp", "rtsps")


class Camera(Section):
    id: Id = Field(description="Id of the camera, unique among cameras.")
    name: Name = Field(description="The camera's name as the 110 operator reads it.")
    zone: Id = Field(description="Id of the zone it stands in.")
    onvif: Onvif | None = Field(
        default=None, description="The camera by ONVIF; exactly one of onvif and stream."
    )
    stream: Stream | None = Field(
        default=None, description="The camera by its bare stream; exactly one of onvif and stream."
    )
    record: Record = Field(
        default="alarms-only", description="Whether it is recorded always or only for alarms."
    )
    audio: bool = Field(default=False, description="Whether AAC sound is copied into its clips.")

    @model_validator(mode="after")
    def _one_source(self) -> Camera:
        if (self.onvif is None) == (self.stream is None):
            raise refused("exactly one of the keys onvif and stream", "say how this camera is reached")
        return self

    @property
    def host(self) -> str:
        """The host the camera's password is sent to."""
        if self.onvif is not None:
            return self.onvif.host
        assert self.stream is not None
        return self.stream.address.host


class MqttSource(Section):
    topic: PressTopic = Field(description="The exact topic its presses are published on.")
    format: MqttFormat = Field(
        default="gateway", description="How the contact's hardware writes its payloads."
    )
    input: Input | None = Field(default=None, description="Which input of a device that has several.")
    contact: Contact = Field(default="normally-open", description="Which way the contact is wired.")
    liveness: Topic | None = Field(
        default=None,
        description="Where it is told to be online or offline, in place of its make's own topic.",
    )
    silent_after_s: Annotated[int, Field(ge=60, le=2_592_000)] | None = Field(
        default=None, description="Seconds without any message from it after which that is a fault."
    )
    press: tuple[ActionWord, ...] = Field(
        default=(), max_length=32, description="The words that are presses, where not every push is one."
    )
    flag: Flag | None = Field(
        default=None, description="What an sos, emergency or panic flag of it is, where that is known."
    )

    @model_validator(mode="after")
    def _words(self) -> MqttSource:
        if self.press and self.format == "gateway":
            raise refused(
                "no key press beside format: gateway",
                "pressed is its only word; leave the other events out there",
            )
        return self


class Confirm(Section):
    topic: Topic = Field(description="Where its confirmations are published: a lamp, a buzzer.")
    received: Word | None = Field(
        default=None, description="Published when the centre's machine has received the alarm."
    )
    accepted: Word | None = Field(
        default=None, description="Published when an operator of the centre has accepted it."
    )
    closed: Word | None = Field(default=None, description="Published when the centre has closed it.")
    qos: Annotated[int, Field(ge=0, le=1)] = Field(
        default=1, description="Quality of service of these publishes."
    )
    retain: bool = Field(default=False, description="Whether the broker keeps the last one.")

    @model_validator(mode="after")
    def _ends(self) -> Confirm:
        if self.retain and self.closed is None and (self.received or self.accepted):
            raise refused(
                "a word for closed beside retain", "else the broker tells the lamp of an old alarm for ever"
            )
        return self


class OnvifInput(Section):
    camera: Id = Field(description="Id of the camera the contact is wired to.")
    token: Name = Field(description="Token of that camera's alarm input.")


class Point(Section):
    id: Id = Field(description="Id of the point, unique among points.")
    name: Name = Field(description="The point's name as the 110 operator reads it.")
    zone: Id = Field(description="Id of the zone it is mounted in.")
    mqtt: MqttSource | None = Field(
        default=None, description="A contact on MQTT; exactly one of mqtt and onvif_input."
    )
    onvif_input: OnvifInput | None = Field(
        default=None, description="A contact on a camera's alarm input; exactly one of mqtt and onvif_input."
    )
    cameras: tuple[Id, ...] = Field(
        default=(), max_length=64, description="Cameras that see it, besides those standing in its own zone."
    )
    severity: Severity = Field(
        default="panic", description="What a press means; duress stays silent in the school."
    )
    confirm: Confirm | None = Field(
        default=None, description="Tells whoever pressed what became of it; never for duress."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Point:
        if (self.mqtt is None) == (self.onvif_input is None):
            raise refused(
                "exactly one of the keys mqtt and onvif_input", "say where this point's presses come from"
            )
        return self


class Webhook(Section):
    url: WebAddress = Field(description="Where messages to the 110 centre are POSTed.")
    backup_url: WebAddress | None = Field(default=None, description="The second path to the centre.")
    secret: WebhookSecret = Field(description="Signs every message except drills.")
    drill_secret: WebhookSecret | None = Field(
        default=None, description="Signs drills; must differ from secret."
    )
    answer_secret: WebhookSecret | None = Field(
        default=None,
        description="Signs replies and requests that come in the bodies of the centre's answers.",
    )
    ca: FilePath | None = Field(
        default=None, description="PEM file of the CA the centre's certificate is checked against."
    )
    cert: FilePath | None = Field(default=None, description="PEM file of the gateway's client certificate.")
    key: FilePath | None = Field(default=None, description="PEM file of the client certificate's key.")


class Centre(Section):
    id: Id = Field(description="Id of the 110 centre.")
    name: Name = Field(description="The centre's name as the school reads it.")
    webhook: Webhook = Field(description="How messages reach the centre.")
    media: Literal["push", "link"] = Field(
        default="link",
        description="push: evidence is PUT to media_url; link: the centre fetches it by signed links.",
    )
    media_url: WebPlace | None = Field(default=None, description="Where evidence is PUT; needed for push.")
    media_token: Secret | None = Field(
        default=None, description="Bearer token of those PUTs; needed for push."
    )
    accept_within_s: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60, description="Seconds after which an alarm nobody accepted is escalated."
    )


class Mqtt(Section):
    url: BrokerAddress = Field(description="The broker, or embedded for demo and bench.")
    listen: LoopbackListen = Field(
        default="127.0.0.1:1883",
        description="Where the embedded broker listens; used with url: embedded only.",
    )
    username: Name | None = Field(default=None, description="The gateway's user at the broker.")
    password: Secret | None = Field(default=None, description="That user's password.")
    ca: FilePath | None = Field(
        default=None, description="PEM file of the CA the broker's certificate is checked against."
    )
    cert: FilePath | None = Field(default=None, description="PEM file of the gateway's client certificate.")
    key: FilePath | None = Field(default=None, description="PEM file of the client certificate's key.")
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None,
        description="The session's client id; campus-gateway-SITE with a secret part if absent.",
    )

    @property
    def embedded(self) -> bool:
        return self.url == "embedded"

    @property
    def address(self) -> Url | None:
        """The broker taken apart; None for the embedded one."""
        return None if self.embedded else parse_broker(self.url)


class Storage(Section):
    objects: ObjectsAddress = Field(
        default="file:objects", description="Where stills, clips and recordings are kept."
    )
    database: DatabaseAddress = Field(
        default="sqlite:gateway.db", description="Where the register of everything is kept."
    )
    access_key: Secret | None = Field(default=None, description="Access key of the S3 store.")
    secret_key: Secret | None = Field(default=None, description="Secret key of the S3 store.")
    region: Name | None = Field(default=None, description="Region of the S3 store, where it has any.")
    ca: FilePath | None = Field(
        default=None, description="PEM file of the CA the store's certificate is checked against."
    )
    database_password: Secret | None = Field(default=None, description="Password of the PostgreSQL user.")
    retention_days: RetentionDays = Field(
        default=30, description="Days recordings are kept, and then deleted."
    )
    lock: Literal["wanted", "required"] = Field(
        default="wanted",
        description="Whether what is kept has to be locked in the store; if required, nothing goes into one that does not lock.",
    )
    reserve_gb: Annotated[float, Field(ge=0, le=100_000)] = Field(
        default=5, description="Gigabytes (10^9 bytes) kept free for alarm evidence."
    )
    when_full: WhenFull = Field(
        default=("substream", "keyframes", "stop"),
        min_length=1,
        max_length=3,
        description="How new footage gives way on a full disk, in order; gates last, kept footage never.",
    )

    @property
    def object_store(self) -> tuple[Url, str] | None:
        """Endpoint and bucket of an S3 store; None for `file:`."""
        return None if self.objects.startswith("file:") else parse_store(self.objects)


class Evidence(Section):
    before_s: Annotated[int, Field(ge=5, le=120)] = Field(
        default=30, description="Seconds of video before the press."
    )
    after_s: Annotated[int, Field(ge=5, le=600)] = Field(
        default=30, description="Seconds of video after the press."
    )


class SelfTest(Section):
    """A scheduled drill that the centre answers by itself: it proves the chain while nobody presses."""

    point: Id = Field(description="Id of the point as which the self-test is raised.")
    at: TimeOfDay = Field(default="07:00", description="When, every day, in the school's own time.")
    answered_within_s: Annotated[int, Field(ge=10, le=3600)] = Field(
        default=120, description="Seconds within which the centre has to answer it; later is a fault."
    )


class Tls(Section):
    cert: FilePath = Field(description="PEM file of the gateway's server certificate, chain included.")
    key: FilePath = Field(description="PEM file of the certificate's key.")
    client_ca: FilePath | None = Field(
        default=None,
        description="PEM file of the CA whose certificate every caller has to show, besides the token.",
    )


class Http(Section):
    listen: Listen = Field(
        default="127.0.0.1:8080", description="Where the gateway serves HTTP; port 0 takes a free one."
    )
    public_url: WebPlace | None = Field(
        default=None, description="How the centre reaches the gateway; the listening address if absent."
    )
    tls: Tls | None = Field(
        default=None, description="Certificate the gateway serves with; needed off loopback."
    )
    media_link_s: Annotated[int, Field(ge=1, le=31_536_000)] = Field(
        default=604_800, description="Seconds a signed link to a still or clip lives."
    )
    live_link_s: Annotated[int, Field(ge=1, le=604_800)] = Field(
        default=86_400, description="Seconds a signed link to a live picture lives."
    )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return parse_listen(self.listen)


class Access(Section):
    name: Name = Field(description="Who it is; stands in the access register.")
    unit: Name | None = Field(
        default=None, description="The unit they belong to; stands in the access register."
    )
    role: Role = Field(description="What they may do.")
    token: Secret = Field(description="Their bearer token, at least 16 visible ASCII characters.")


class Site(Section):
    """A whole site file."""

    site: School = Field(description="The school itself.")
    zones: tuple[Zone, ...] = Field(default=(), max_length=2000, description="The places of the school.")
    cameras: tuple[Camera, ...] = Field(default=(), max_length=256, description="Its cameras.")
    points: tuple[Point, ...] = Field(
        default=(), max_length=2000, description="Its alarm contacts (报警触点)."
    )
    centre: Centre = Field(description="The 110 centre its alarms go to.")
    mqtt: Mqtt = Field(description="The broker its contacts publish to.")
    storage: Storage = Field(
        default=Storage(), description="Where evidence and records are kept, and for how long."
    )
    evidence: Evidence = Field(default=Evidence(), description="How much video around a press is evidence.")
    self_test: SelfTest | None = Field(default=None, description="The daily self-test; none if absent.")
    http: Http = Field(default=Http(), description="The gateway's own HTTP service.")
    access: tuple[Access, ...] = Field(default=(), max_length=256, description="Who may call it.")

    @property
    def retention_days(self) -> int:
        """Days recordings are kept: what the file says, and for a designated key target not less than the law asks."""
        least = KEY_TARGET_DAYS_MIN if self.site.key_target else 0
        return max(self.storage.retention_days, least)

    def cameras_of(self, point: Point) -> tuple[Camera, ...]:
        """The cameras mapped to a point: those of its own zone and those it lists, in the order of the
        file."""
        return tuple(
            camera for camera in self.cameras if camera.zone == point.zone or camera.id in point.cameras
        )
