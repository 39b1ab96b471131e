"""What is wrong between the gateway and its broker, in words: the running fault and ``check --probe`` say the same."""

from __future__ import annotations

from collections.abc import Collection

#: Topics that a sentence names; the rest is a number.
MOST_NAMED = 5


def named(topics: Collection[str]) -> str:
    """The first few, in order, and how many more."""
    first = ", ".join(sorted(topics)[:MOST_NAMED])
    more = len(topics) - MOST_NAMED
    return first if more <= 0 else f"{first} and {more} more"


def unreachable(where: str, error: object) -> str:
    """There is no TCP connection."""
    return f"the broker at {where} cannot be reached ({error}); is the broker running, is the port right?"


def no_answer(where: str) -> str:
    """There is a TCP connection, and no CONNACK came."""
    return f"the broker at {where} takes the connection, but does not answer as an MQTT broker does"


def refused(where: str, reason: object) -> str:
    """CONNACK with a failure."""
    return f"the broker at {where} refuses: {reason}; check mqtt.username and mqtt.password"


def ended(where: str, reason: object) -> str:
    """A connection that was up is gone."""
    return f"the connection to the broker at {where} ended: {reason}"


def subscription_refused(topics: Collection[str]) -> str:
    """SUBACK with a failure."""
    return (
        f"the broker refuses the subscription to {named(topics)}: no press there is heard; check the broker's access list: "
        "the gateway's user needs 'topic readwrite' there"
    )


def low_qos(topics: Collection[str]) -> str:
    """SUBACK with QoS 0 for a topic of presses."""
    return f"the broker grants QoS 0 only for {named(topics)}: a press there may be lost; allow QoS 1"


def undelivered(topics: Collection[str], of: int) -> str:
    """The gateway's own message did not come back; a subscription that was granted proves nothing of it."""
    return (
        f"the broker does not deliver to the gateway what the gateway published on {len(topics)} of {of} topics of presses "
        f"({named(topics)}): a press there is lost without a word; compare each with the topic its device is set to, then "
        "give the gateway's user 'topic readwrite' for them in the broker's access list (drivers/contacts/mosquitto.acl), and "
        "press each contact"
    )


def contested(where: str, losses: int, within_s: float) -> str:
    """A connection that is lost again and again: most often somebody else connects under the same client id."""
    return (
        f"the connection to the broker at {where} was lost {losses} times within {within_s:.0f} s: another client may be using "
        "the gateway's client id, and presses go to it instead; leave mqtt.client_id out (then it has a secret part), let no two "
        "gateways share one, and bind the client ids of others at the broker as the mosquitto.conf shipped does"
    )


def bound(where: str) -> str:
    """A new client id met an old session: the broker puts the user in place of the client id."""
    return (
        f"the broker at {where} makes the user its client id (use_username_as_clientid): a probe cannot look at it without "
        "taking the running gateway's session; give the gateway a listener of its own, as in the mosquitto.conf shipped"
    )


def forgotten(where: str, at: str) -> str:
    """The broker kept no session although there was one."""
    return (
        f"the broker at {where} had forgotten the gateway's session when the gateway connected at {at}: a press made while the "
        "gateway or the broker was away may be lost; ask the school whether somebody pressed, and let the broker keep its "
        "sessions (persistence, as in the mosquitto.conf shipped); this stands for 24 hours"
    )
