"""The gateway's session on a real mosquitto: forgotten, taken by others, moved from one client id to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.contacts.address import BrokerAddress
from drivers.contacts.mqtt import MqttFeed
from gateway.app.broker_session import FILE, BrokerSession
from gateway.box.clock import SystemClock
from gateway.ports.contacts import ContactMessage
from tests.support.clock import run
from tests.support.mosquitto import GuardedBroker
from tests.support.signals import wait_until

TOPIC = "campus/contacts/301"
PASSWORDS = {"gateway": "g", "sos-301": "s"}
ACL = "user gateway\ntopic readwrite campus/contacts/#\n\nuser sos-301\ntopic write campus/contacts/301\n"
WITHIN_S = 40.0
PLAIN = "campus-gateway-school"
KEPT = "persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"


def session_of(broker: GuardedBroker, folder: Path, **how: object) -> BrokerSession:
    given: dict[str, object] = {"given": None, "plain": PLAIN, "upgraded": False, **how}
    return BrokerSession(folder / FILE, SystemClock(), where=f"127.0.0.1:{broker.port}", **given)  # type: ignore[arg-type]


def address_of(broker: GuardedBroker, client_id: str) -> BrokerAddress:
    return BrokerAddress(
        host="127.0.0.1", port=broker.port, client_id=client_id, username="gateway", password="g"
    )


@asynccontextmanager
async def gateway(
    broker: GuardedBroker,
    memory: BrokerSession | None,
    heard: list[bytes],
    client_id: str = PLAIN,
    topics: Sequence[str] = (TOPIC,),
) -> AsyncIterator[MqttFeed]:
    """A feed until the end of the block; ``heard`` is what came and was acknowledged."""

    def receive(message: ContactMessage) -> None:
        heard.append(message.payload)
        message.acknowledge()

    address = address_of(broker, memory.client_id if memory else client_id)
    feed = MqttFeed(address, topics, SystemClock(), memory=memory)
    tasks = [asyncio.create_task(feed.run(receive))]
    if memory is not None:
        tasks.append(asyncio.create_task(memory.run()))
    try:
        await until(lambda: feed.armed, "armed")
        yield feed
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(holds: Callable[[], object], what: str) -> None:
    await wait_until(lambda: bool(holds()), WITHIN_S, what)


async def press(broker: GuardedBroker, payload: bytes, qos: int = 1) -> None:
    """One press of a contact, accepted by the broker."""

    def publish() -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="contact")
        client.username_pw_set("sos-301", "s")
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        client.publish(TOPIC, payload, qos).wait_for_publish(WITHIN_S)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(publish)


async def present(broker: GuardedBroker, client_id: str) -> bool:
    """Whether the broker has a session under the id."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    client.username_pw_set("gateway", "g")
    answers: list[bool] = []
    client.on_connect = lambda _c, _d, flags, _r, _p: answers.append(bool(flags.session_present))

    def ask() -> None:
        client.connect("127.0.0.1", broker.port)
        client.loop_start()

    await asyncio.to_thread(ask)
    await until(lambda: answers, "an answer")
    await asyncio.to_thread(client.loop_stop)
    return answers[0]


def test_an_upgrade_loses_nothing_that_waits_under_the_former_id(tmp_path: Path) -> None:
    """Pressed while the old gateway was away, during the change and after it: each comes once, and the old session is gone."""

    async def story(broker: GuardedBroker) -> None:
        async with gateway(broker, None, []):
            pass  # the version before, under the id without a secret part
        for number in range(200):
            if number % 50 == 0:
                await press(broker, b"waiting %d" % number, qos=number % 100 // 50)
        # As the new connection's own proof is queued for the former session too, if it goes out before that is deleted.
        await press(broker, b"", qos=0)
        memory = session_of(broker, tmp_path, upgraded=True)
        assert memory.former == (PLAIN,)
        heard: list[bytes] = []
        async with gateway(broker, memory, heard):
            await press(broker, b"after")
            await until(lambda: memory.former == () and b"after" in heard, "the former session is taken")
            await press(broker, b"later")
            await until(lambda: b"later" in heard, "a press through the new session")
        waiting = [b"waiting %d" % n for n in (0, 50, 100, 150)]
        assert heard[:4] == waiting
        assert [h for h in heard if h not in (b"after",)] == [*waiting, b"later"]
        assert not await present(broker, PLAIN)
        assert session_of(broker, tmp_path).former == (), "and it is not looked for again"

    with GuardedBroker(tmp_path, PASSWORDS, ACL, "queue_qos0_messages true\n") as broker:
        run(story(broker), 120.0)


def test_a_change_of_the_site_files_id_loses_nothing(tmp_path: Path) -> None:
    """From the secret one to a given one and back."""

    async def story(broker: GuardedBroker) -> None:
        for number, given in enumerate((None, "ours", None)):
            memory = session_of(broker, tmp_path, given=given)
            heard: list[bytes] = []
            async with gateway(broker, memory, heard):
                await until(lambda memory=memory: memory.former == (), "taken")
                expected = [b"before change %d" % number] if number else []
                await until(lambda heard=heard, expected=expected: heard == expected, "what waited")
            await press(broker, b"before change %d" % (number + 1))

    with GuardedBroker(tmp_path, PASSWORDS, ACL) as broker:
        run(story(broker), 120.0)


def test_where_the_broker_binds_ids_to_users_both_ids_are_one_session(tmp_path: Path) -> None:
    """Nothing that waits is lost, and the one session is not deleted as the former one."""

    async def story(broker: GuardedBroker) -> None:
        async with gateway(broker, None, []):
            pass
        await press(broker, b"waiting")
        memory = session_of(broker, tmp_path, upgraded=True)
        heard: list[bytes] = []
        async with gateway(broker, memory, heard) as feed:
            await until(lambda: memory.former == () and heard == [b"waiting"], "taken")
            assert feed.armed
        await press(broker, b"away")
        heard.clear()
        async with gateway(broker, session_of(broker, tmp_path), heard) as feed:
            await until(lambda: heard == [b"away"], "the session is still there")
            assert not dict(feed.found())

    with GuardedBroker(tmp_path, PASSWORDS, ACL, "use_username_as_clientid true\n") as broker:
        run(story(broker), 120.0)


@pytest.mark.parametrize("kept", [True, False], ids=["persistence", "no persistence"])
def test_a_broker_that_forgets_is_a_fault(tmp_path: Path, kept: bool) -> None:
    """Restarted while the gateway runs and while it is away: with persistence nothing is said, without it each time."""

    async def story(broker: GuardedBroker) -> None:
        first = session_of(broker, tmp_path)
        async with gateway(broker, first, []) as feed:
            assert not dict(feed.found()), "a first time is no loss"
            broker.stop()
            await until(lambda: not feed.armed, "the loss is seen")
            broker.start()
            await until(lambda: feed.armed, "armed again")
            assert ("session" in dict(feed.found())) is not kept
            if not kept:
                assert "may be lost" in dict(feed.found())["session"]
        again = session_of(broker, tmp_path)
        assert (again.forgotten_at() is not None) is not kept, "remembered over a restart"
        async with gateway(broker, again, []):
            pass
        before = again.forgotten_at()
        broker.stop()
        broker.start()
        third = session_of(broker, tmp_path)
        async with gateway(broker, third, []):
            at = third.forgotten_at()
            assert (at is not None and at != before) is not kept

    extra = KEPT.format(folder=tmp_path) if kept else "persistence false\n"
    with GuardedBroker(tmp_path, PASSWORDS, ACL, extra) as broker:
        run(story(broker), 120.0)


def test_who_knows_the_site_and_one_password_takes_nothing(tmp_path: Path) -> None:
    """A client under every id that can be guessed, again and again, while 50 others press: all of them come."""

    async def story(broker: GuardedBroker) -> None:
        heard: list[bytes] = []
        strangers = [
            paho.Client(CallbackAPIVersion.VERSION2, client_id=guess, clean_session=True)
            for guess in (PLAIN, f"{PLAIN}-", "gateway", "campus-gateway")
        ]
        async with gateway(broker, session_of(broker, tmp_path), heard) as feed:
            for stranger in strangers:
                stranger.username_pw_set("sos-301", "s")
                await asyncio.to_thread(stranger.connect, "127.0.0.1", broker.port)
                stranger.loop_start()
            try:
                for number in range(50):
                    await press(broker, b"%d" % number)
                await until(lambda: len(heard) == 50, "every press")
                assert feed.armed
                assert "client-id" not in dict(feed.found())
            finally:
                for stranger in strangers:
                    stranger.disconnect()
                    stranger.loop_stop()

    with GuardedBroker(tmp_path, PASSWORDS, ACL) as broker:
        run(story(broker), 120.0)
