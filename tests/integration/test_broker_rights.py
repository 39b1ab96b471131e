"""What the broker lets the gateway do: the feed on a real mosquitto with passwords and access lists, changed while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.contacts import proof
from drivers.contacts.address import BrokerAddress
from drivers.contacts.mqtt import MqttFeed
from gateway.box.clock import SystemClock
from gateway.ports.contacts import ContactMessage
from tests.support.clock import run
from tests.support.mosquitto import GuardedBroker
from tests.support.signals import wait_until

TOPICS = ["campus/contacts/301", "campus/contacts/302", "zigbee2mqtt/sos-gate"]
PASSWORDS = {"gateway": "the gateway's", "sos-301": "of one contact"}
DEVICES = "user sos-301\ntopic write campus/contacts/301\n"
EVERYTHING = (
    "user gateway\ntopic readwrite campus/contacts/#\ntopic readwrite zigbee2mqtt/sos-gate\n\n" + DEVICES
)
WITHIN_S = 40.0


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rounds in less time."""
    monkeypatch.setattr(proof, "ANSWER_S", 3.0)
    monkeypatch.setattr(proof, "EVERY_S", 2.0)
    monkeypatch.setattr(proof, "AGAIN_S", 1.0)
    monkeypatch.setattr(proof, "RETRY_S", 5.0)


def feed_at(
    broker: GuardedBroker,
    topics: list[str] = TOPICS,
    *,
    password: str = "the gateway's",
    client_id: str = "gateway-of-the-test",
) -> MqttFeed:
    address = BrokerAddress(
        host="127.0.0.1", port=broker.port, client_id=client_id, username="gateway", password=password
    )
    return MqttFeed(address, topics, SystemClock())


@asynccontextmanager
async def running(feed: MqttFeed, heard: list[ContactMessage]) -> AsyncIterator[None]:
    def receive(message: ContactMessage) -> None:
        heard.append(message)
        message.acknowledge()

    task = asyncio.create_task(feed.run(receive))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], object], what: str) -> None:
    await wait_until(lambda: bool(holds()), WITHIN_S, what)


async def publish(broker: GuardedBroker, topic: str, payload: bytes, *, user: str = "sos-301") -> None:
    """One press of a contact with its own password."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"contact-{user}")
    client.username_pw_set(user, PASSWORDS[user])

    def press() -> None:
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        client.publish(topic, payload, 1).wait_for_publish(WITHIN_S)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(press)


#: Access lists under which mosquitto grants every subscription, and the topics of which it then delivers nothing.
LISTS: dict[str, tuple[str, set[str]]] = {
    "lines for the devices only": (DEVICES, set(TOPICS)),
    "a pattern for the devices only": ("pattern write campus/contacts/%u\n", set(TOPICS)),
    "one topic denied below a wildcard": (
        "user gateway\ntopic readwrite #\ntopic deny campus/contacts/302\n",
        {"campus/contacts/302"},
    ),
    "only some of the topics": (
        "user gateway\ntopic readwrite campus/contacts/301\n",
        {"campus/contacts/302", "zigbee2mqtt/sos-gate"},
    ),
    "a wildcard for another level": (
        "user gateway\ntopic readwrite campus/+\ntopic readwrite zigbee2mqtt/#\n",
        {"campus/contacts/301", "campus/contacts/302"},
    ),
    "write without read": ("user gateway\ntopic write #\n", set(TOPICS)),
    "a pattern by client id that is another's": ("pattern readwrite campus/%c/#\n", set(TOPICS)),
    "a pattern by client id": (
        "pattern readwrite campus/contacts/#\npattern readwrite zigbee2mqtt/#\n",
        set(),
    ),
    "everything it needs": (EVERYTHING, set()),
}


#: Under this, mosquitto 2.0.11 ends the connection of who publishes where he must not; without it, it does not.
PER_LISTENER = "per_listener_settings true\n"


@pytest.mark.parametrize("head", ["", PER_LISTENER], ids=["", "per listener"])
@pytest.mark.parametrize("name", LISTS)
def test_what_is_not_delivered_is_found(tmp_path: Path, name: str, head: str) -> None:
    """Every subscription is granted; the fault names exactly the topics of which nothing comes."""
    acl, silent = LISTS[name]

    async def story(broker: GuardedBroker) -> None:
        heard: list[ContactMessage] = []
        feed = feed_at(broker)
        rounds: list[frozenset[str]] = []
        feed._proof._conclude = lambda missing, done=feed._proof._conclude: (  # type: ignore[method-assign]
            done(missing),
            rounds.append(frozenset(missing)),
        )
        async with running(feed, heard):
            await until(lambda: rounds, "a first round is over")
            await until(lambda: feed.armed, "armed, after whatever ends its connection")
            assert feed.undelivered == silent
            found = dict(feed.found())
            assert set(found) == ({"delivery"} if silent else set())
            for topic in silent:
                assert topic in found["delivery"]
            assert not heard, "the gateway's own message is nobody's press"

    with GuardedBroker(tmp_path, PASSWORDS, acl, head=head) as broker:
        run(story(broker), 120.0)


@pytest.mark.parametrize("head", ["", PER_LISTENER], ids=["", "per listener"])
def test_rights_that_change_are_found_and_are_well_again(tmp_path: Path, head: str) -> None:
    """The list is changed while it runs, to less and back; presses come before and after."""

    async def story(broker: GuardedBroker) -> None:
        heard: list[ContactMessage] = []
        feed = feed_at(broker)
        async with running(feed, heard):
            await until(lambda: feed.armed, "armed")
            await publish(broker, TOPICS[0], b"before")
            await until(lambda: [m.payload for m in heard] == [b"before"], "a press")
            for less, silent in (
                (DEVICES, set(TOPICS)),
                (EVERYTHING + "\nuser gateway\ntopic deny campus/contacts/302\n", {TOPICS[1]}),
            ):
                broker.reload(acl=less)
                await until(lambda silent=silent: feed.undelivered == silent, "the loss of rights is found")
                broker.reload(acl=EVERYTHING)
                await until(lambda: not feed.undelivered and feed.armed, "well again")
                assert not dict(feed.found())
            await publish(broker, TOPICS[0], b"after")
            await until(lambda: [m.payload for m in heard] == [b"before", b"after"], "a press after it")

    with GuardedBroker(tmp_path, PASSWORDS, EVERYTHING, head=head) as broker:
        run(story(broker), 120.0)


def test_a_refusal_stays_in_its_own_words(tmp_path: Path) -> None:
    """A wrong password, at the start or changed meanwhile: the end of the refused connection does not overwrite it."""

    async def story(broker: GuardedBroker) -> None:
        feed = feed_at(broker, password="wrong")
        causes: set[str] = set()
        async with running(feed, []):
            await until(lambda: "Not authorized" in feed.cause, "the refusal is told")
            for _ in range(60):  # over several attempts
                await asyncio.sleep(0.1)
                causes.add(feed.cause)
        assert len(causes) == 1, causes
        assert "check mqtt.username and mqtt.password" in causes.pop()
        feed = feed_at(broker)
        async with running(feed, []):
            await until(lambda: feed.armed, "armed")
            broker.reload(passwords={**PASSWORDS, "gateway": "another"})
            await until(lambda: "Not authorized" in feed.cause, "the refusal is told")
            broker.stop()
            await until(lambda: "Connection refused" in feed.cause, "now it is down, and why is told")
            broker.start()
            await until(lambda: "Not authorized" in feed.cause, "and refuses again")
            broker.reload(passwords=PASSWORDS)
            await until(lambda: feed.armed and not feed.cause, "well again")

    with GuardedBroker(tmp_path, PASSWORDS, EVERYTHING) as broker:
        run(story(broker), 120.0)


def test_a_listener_that_speaks_no_mqtt_is_told(tmp_path: Path) -> None:
    """It takes the connection and hangs up: not the same as a broker that is down."""

    async def story() -> None:
        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        feed = MqttFeed(BrokerAddress(host="127.0.0.1", port=port, client_id="t"), TOPICS, SystemClock())
        async with server, running(feed, []):
            await until(lambda: "does not answer as an MQTT broker does" in feed.cause, "told")

    run(story())


def test_two_gateways_under_one_client_id_are_a_fault(tmp_path: Path) -> None:
    """Each takes the other's session, again and again."""

    async def story(broker: GuardedBroker) -> None:
        one, other = feed_at(broker), feed_at(broker)
        async with running(one, []), running(other, []):
            for feed in (one, other):
                await until(lambda feed=feed: "client-id" in dict(feed.found()), "told")
                assert (
                    "another client may be using the gateway's client id" in dict(feed.found())["client-id"]
                )

    with GuardedBroker(tmp_path, PASSWORDS, EVERYTHING) as broker:
        run(story(broker), 120.0)


def test_a_broker_that_restarts_once_or_twice_is_no_stranger(tmp_path: Path) -> None:
    """Its own restart loses the connection too."""

    async def story(broker: GuardedBroker) -> None:
        feed = feed_at(broker)
        async with running(feed, []):
            for _ in range(2):
                await until(lambda: feed.armed, "armed")
                broker.stop()
                await until(lambda: not feed.armed, "the loss is seen")
                broker.start()
            await until(lambda: feed.armed, "armed")
            assert not dict(feed.found())

    with GuardedBroker(tmp_path, PASSWORDS, EVERYTHING) as broker:
        run(story(broker), 120.0)
