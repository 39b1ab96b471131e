"""The simulated centre's own signature code, held against the published Standard Webhooks library."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from simulators.centre.signatures import SignatureRefused, key_of, new_secret, sign, verify

NOW = datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)
BODY = '{"name": "第三中学"}'


def signed(secret: str, *, body: str = BODY, at: datetime = NOW) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, body),
    }


def refusal(keys: dict[str, bytes], headers: dict[str, str], body: str = BODY) -> str:
    with pytest.raises(SignatureRefused) as refused:
        verify(keys, headers, body.encode(), now_s=NOW.timestamp())
    return str(refused.value)


def test_published_vector() -> None:
    """The vector that all the reference libraries carry comes out, with and without the prefix."""
    for secret in ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        signature = sign(
            key_of(secret),
            message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp_s=1614265330,
            body=b'{"test": 2432232314}',
        )
        assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_library_accepts_ours() -> None:
    """What this module signs, the published library verifies."""
    secret, now = new_secret(), datetime.now(UTC)
    signature = sign(key_of(secret), message_id="msg_1", timestamp_s=int(now.timestamp()), body=BODY.encode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_we_accept_the_librarys_and_say_whose() -> None:
    """What the published library signs is verified, and the key that signed is named."""
    live, drill = new_secret(), new_secret()
    keys = {"live": key_of(live), "drill": key_of(drill)}
    assert verify(keys, signed(live), BODY.encode(), now_s=NOW.timestamp()) == "live"
    assert verify(keys, signed(drill), BODY.encode(), now_s=NOW.timestamp()) == "drill"


def test_several_signatures() -> None:
    """During a rotation one right signature among several is enough; other versions are passed over."""
    old, new = new_secret(), new_secret()
    headers = signed(new)
    headers["webhook-signature"] = (
        f"v1a,AAAA {signed(old)['webhook-signature']} {headers['webhook-signature']}"
    )
    assert verify({"live": key_of(new)}, headers, BODY.encode(), now_s=NOW.timestamp()) == "live"


@pytest.mark.parametrize("drift_s", [-301, 301])
def test_stale(drift_s: int) -> None:
    """A right signature of more than five minutes ago, or ahead, is refused."""
    secret = new_secret()
    headers = signed(secret, at=NOW + timedelta(seconds=drift_s))
    assert "at most 300 s" in refusal({"live": key_of(secret)}, headers)
    headers = signed(secret, at=NOW + timedelta(seconds=drift_s - (1 if drift_s > 0 else -1)))
    assert verify({"live": key_of(secret)}, headers, BODY.encode(), now_s=NOW.timestamp()) == "live"


def test_altered() -> None:
    """An altered body, id, timestamp or secret is refused."""
    secret = new_secret()
    keys = {"live": key_of(secret)}
    right = signed(secret)
    assert "matches none" in refusal(keys, right, BODY + " ")
    assert "matches none" in refusal(keys, right | {"webhook-id": "msg_2"})
    assert "matches none" in refusal(
        keys, right | {"webhook-timestamp": str(int(right["webhook-timestamp"]) + 1)}
    )
    assert "matches none" in refusal({"live": key_of(new_secret())}, right)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"webhook-signature": ""}, "webhook-signature"),
        ({"webhook-id": ""}, "webhook-id"),
        ({"webhook-timestamp": "soon"}, "unix seconds"),
        ({"webhook-timestamp": "１６１４２６５３３０"}, "unix seconds"),
        ({"webhook-signature": "v2,AAAA"}, "no v1"),
        ({"webhook-signature": "v1,签名"}, "matches none"),
    ],
)
def test_malformed_headers(changes: dict[str, str], said: str) -> None:
    """A missing or malformed header is refused by its name, and never raises anything else."""
    secret = new_secret()
    assert said in refusal({"live": key_of(secret)}, signed(secret) | changes)


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_"])
def test_bad_secret(secret: str) -> None:
    """A secret that is no base64 is refused when the centre is set up, not at the first message."""
    with pytest.raises(ValueError, match="webhook secret"):
        key_of(secret)
