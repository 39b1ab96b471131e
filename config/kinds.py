"""The kinds of values a site file has: names, ids, topics, addresses. Each says what it expected when it
refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from config.addresses import BadAddress, Url, check_host, is_loopback, parse_listen, parse_url
from config.secret import Secret, check_webhook_secret

TOPIC_BYTES_MAX = 65535  # MQTT 3.1.1, 1.5.3: a UTF-8 string has a two-byte length
RETENTION_DAYS_MIN = 30  # founding notice, II (3) 3; State Council Order 799, Art. 17
KEY_TARGET_DAYS_MIN = 90  # Counter-Terrorism Law, Art. 32: designated key targets
_ID = re.compile(r"[a-z0-9-]{1,64}")
_STORE_URL = ("s3+https", "s3+http")


def refused(expected: str, advice: str) -> PydanticCustomError:
    """An error that already knows what was expected and what to do."""
    return PydanticCustomError("site_rule", "{expected}", {"expected": expected, "advice": advice})


def parse_broker(url: str) -> Url:
    """Take an MQTT broker's address apart (not `embedded`)."""
    parsed = parse_url(url, "mqtt", "mqtts")
    if parsed.path not in ("", "/") or parsed.query:
        raise BadAddress("a path or query has no meaning for a broker")
    return parsed


def parse_store(objects: str) -> tuple[Url, str]:
    """`s3+https://endpoint/bucket` → the endpoint and the bucket."""
    parsed = parse_url(objects, *_STORE_URL)
    bucket = parsed.path.strip("/")
    # Amazon S3, "Bucket naming rules": 3 to 63 of a-z, 0-9, dot and hyphen.
    named = re.fullmatch(
        r"(?!.*(\.\.|\.-|-\.))(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket
    )
    if not named or parsed.query:
        raise BadAddress("not exactly one bucket name (3 to 63 of a-z, 0-9, . and -) after the endpoint")
    return parsed, bucket


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise refused(
            "1 to 64 of a-z, 0-9 and -", "ids are stable and appear in addresses; the name may be Chinese"
        )
    return text


def _web(text: str) -> str:
    return _address(text, lambda: parse_url(text, "https", "http"), "http", "an https:// address")


def _web_place(text: str) -> str:
    if "?" in text:
        raise refused("an address without a query (?…)", "paths are appended to it: give only its beginning")
    return _web(text).rstrip("/")


def _stream(text: str) -> str:
    how = "an rtsp:// or rtsps:// address without user name and password"
    return _address(
        text, lambda: parse_url(text, "rtsp", "rtsps"), "", how, "use the keys username and password"
    )


def _broker(text: str) -> str:
    if text == "embedded":
        return text
    return _address(text, lambda: parse_broker(text), "mqtt", "embedded, or an mqtts:// address")


def _objects(text: str) -> str:
    if text.startswith("file:"):
        return _file(text, "file:", "objects")
    how = "file:DIR or s3+https://ENDPOINT/BUCKET"
    return _address(
        text, lambda: parse_store(text)[0], "s3+http", how, "keys go into access_key and secret_key"
    )


def _database(text: str) -> str:
    if text.startswith("sqlite:"):
        return _file(text, "sqlite:", "gateway.db")
    how = "sqlite:FILE or postgresql://USER@HOST/NAME"
    # The user name is no secret; parse_url refuses any, so it is taken away first. A password stays and
    # is refused.
    bare = re.sub(r"^postgresql://[A-Za-z0-9._-]+@", "postgresql://", text)
    return _address(
        text, lambda: parse_url(bare, "postgresql"), "", how, "the password goes into database_password"
    )


def _file(text: str, prefix: str, example: str) -> str:
    rest = text.removeprefix(prefix)
    if not rest or rest.startswith("//") or rest == ":memory:" or "\0" in rest:
        raise refused(
            f"{prefix} and a path, as in {prefix}{example} or {prefix}/srv/{example}",
            "without //: it would hide whether the path is relative; and on disk, or nothing survives",
        )
    return text


def _address(
    text: str, parse: Callable[[], Url], plain: str, how: str, advice: str = "correct the address"
) -> str:
    try:
        url = parse()
    except BadAddress as wrong:
        raise refused(f"{how} ({wrong})", advice) from None
    if url.scheme == plain and not url.on_loopback:
        raise refused(
            f"{how}; plain {plain}:// is legal on loopback only (127.0.0.0/8, ::1, localhost)",
            "use the protocol with TLS, or a relay on this machine that does",
        )
    return text


def _user(text: str) -> str:
    if ":" in text:
        raise refused(
            "a user name without :",
            "cameras' log-ins (HTTP, RTSP) part name and password at the first colon: give the camera another user",
        )
    return text


def _host(text: str) -> str:
    try:
        return check_host(text)
    except BadAddress:
        raise refused(
            "a host name or IP address, without scheme, port or brackets", "the port has a key of its own"
        ) from None


def _listen(text: str) -> str:
    try:
        parse_listen(text)
    except BadAddress as wrong:
        raise refused(f"HOST:PORT ({wrong})", "for example 127.0.0.1:8080") from None
    return text


def _listen_loopback(text: str) -> str:
    host, _ = parse_listen(_listen(text))
    if not is_loopback(host):
        raise refused(
            "a loopback address; plain MQTT is legal on loopback only",
            "use a broker with TLS for a real site",
        )
    return text


def _topic(text: str) -> str:
    if not text or "\0" in text or len(text.encode("utf-8", "surrogatepass")) > TOPIC_BYTES_MAX:
        raise refused(f"a topic of 1 to {TOPIC_BYTES_MAX} bytes without NUL", "MQTT allows no other")
    if "+" in text or "#" in text or text.startswith("$share/"):
        raise refused(
            "one exact topic, without the wildcards + and # and without $share/",
            "give each point the topic its own presses are published on",
        )
    return text


def _press_topic(text: str) -> str:
    if _topic(text).startswith("$"):
        raise refused(
            "a topic of a contact; those that begin with $ are the broker's own ($SYS, $share, $queue …)",
            "give the topic its presses are published on",
        )
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
        raise refused("a topic without control characters or line ends", "nobody publishes on such a one")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise refused("a name of the IANA time zone database", "for example Asia/Shanghai") from None
    return text


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise refused(
            "a time of day, HH:MM", 'for example "07:00"; in quotes, or YAML may read it as a number'
        )
    return text


def _latitude(value: float) -> float:
    return _degrees(value, 90, "latitude")


def _longitude(value: float) -> float:
    return _degrees(value, 180, "longitude")


def _degrees(value: float, limit: int, which: str) -> float:
    if not -limit <= value <= limit:
        raise refused(
            f"{which} in degrees, -{limit} to {limit} (WGS 84)",
            "lat and lon may have been given the wrong way round",
        )
    return value


def _retention(days: int) -> int:
    if days < RETENTION_DAYS_MIN:
        raise refused(
            f"{RETENTION_DAYS_MIN} or more",
            "公共安全视频图像信息系统管理条例 (State Council Order 799) Art. 17 and the founding notice: "
            "video information is kept for no less than 30 days (90 for designated key targets)",
        )
    return days


def _input(value: Any) -> Any:
    # YAML makes an int only of the canonical spelling, so nothing (as in 01) is lost here.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, AfterValidator(_id)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
UserName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_user)]
Text = Annotated[str, Field(min_length=1, max_length=500)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
Topic = Annotated[str, AfterValidator(_topic)]
PressTopic = Annotated[str, AfterValidator(_press_topic)]
Word = Annotated[str, Field(min_length=1, max_length=1000)]
ActionWord = Annotated[str, Field(min_length=1, max_length=64)]
Input = Annotated[str, BeforeValidator(_input), Field(min_length=1, max_length=64)]
WebAddress = Annotated[str, AfterValidator(_web)]
WebPlace = Annotated[str, AfterValidator(_web_place)]
StreamAddress = Annotated[str, AfterValidator(_stream)]
BrokerAddress = Annotated[str, AfterValidator(_broker)]
ObjectsAddress = Annotated[str, AfterValidator(_objects)]
DatabaseAddress = Annotated[str, AfterValidator(_database)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Listen = Annotated[str, AfterValidator(_listen)]
LoopbackListen = Annotated[str, AfterValidator(_listen_loopback)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Latitude = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_latitude)]
Longitude = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_longitude)]
RetentionDays = Annotated[int, Field(le=3650), AfterValidator(_retention)]
WebhookSecret = Annotated[Secret, AfterValidator(check_webhook_secret)]
