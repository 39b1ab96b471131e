"""The simulated camera whose stream changes while it plays, and what a bad way does to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import aiohttp
import av
import pytest

from simulators.camera.encoded import EncodedStream
from simulators.camera.faults import CameraFaults
from simulators.camera.h264 import read_frame_stamp
from simulators.camera.picture import read
from simulators.camera.simulated import SimulatedCamera
from tests.support.rtsp_player import RawClient, play

OPTIONS = {"rtsp_transport": "tcp", "analyzeduration": "100000", "probesize": "50000"}
OPENS_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture as a player shows it."""

    size: tuple[int, int]
    number: int
    unix_ms: int
    key: bool
    at_s: float
    """Its presentation time; the first one's may be unknown and is 0 then."""


class Player:
    """Plays in a thread until the camera hangs up or `enough` says so; `shown` grows meanwhile."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.codec = ""
        self.shown: list[Shown] = []

    def until(self, enough: Callable[[Sequence[Shown]], bool]) -> list[Shown]:
        """Blocks; raises what `av` raises at the opening."""
        with av.open(self._url, options=OPTIONS, timeout=10.0) as container:
            self.codec = container.streams.video[0].codec_context.name
            for packet in container.demux(container.streams.video[0]):
                for frame in packet.decode():
                    reading = read(frame.to_ndarray(format="bgr24"))
                    self.shown.append(
                        Shown(
                            size=(frame.width, frame.height),
                            number=reading.frame,
                            unix_ms=reading.unix_ms,
                            key=bool(frame.key_frame),
                            at_s=float((frame.pts or 0) * (frame.time_base or 0)),
                        )
                    )
                if enough(self.shown):
                    break
        return self.shown


async def shows(player: Player, count: int) -> None:
    """Wait until the player has shown so many more pictures."""
    wanted = len(player.shown) + count
    deadline_s = time.monotonic() + OPENS_WITHIN_S
    while len(player.shown) < wanted:
        assert time.monotonic() < deadline_s, f"{len(player.shown)} pictures, expected {wanted}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_size_changes_within_the_session(codec: str) -> None:
    """One session shows both sizes without a gap; the change begins with a key frame, and the description follows."""
    camera = SimulatedCamera(codec=codec, gop=1000)

    async def run() -> None:
        async with camera:
            player = Player(camera.rtsp_url_with_login)
            playing = asyncio.create_task(
                asyncio.to_thread(
                    player.until, lambda shown: shown[-1].size == (640, 360) and len(shown) > 60
                )
            )
            await shows(player, 5)
            before = camera.description.sps
            await camera.set_faults(CameraFaults(change_width=320, change_height=240))
            assert camera.description.sps != before
            await shows(player, 40)
            await camera.set_faults(CameraFaults())
            assert camera.description.sps == before
            shown = await asyncio.wait_for(playing, 20)
        assert camera.sessions_total == 1
        sizes = [each.size for each in shown]
        changes = [index for index in range(1, len(shown)) if sizes[index] != sizes[index - 1]]
        assert [sizes[index] for index in changes] == [(320, 240), (640, 360)]
        assert all(shown[index].key for index in changes)
        assert [each.number for each in shown] == list(range(shown[0].number, shown[-1].number + 1))
        # The time stamps go on by the clock, whatever the size.
        offsets_s = [each.at_s - each.unix_ms / 1000 for each in shown[1:]]
        assert max(offsets_s) - min(offsets_s) < 0.001

    asyncio.run(run())


def test_the_codec_changes_by_a_restart() -> None:
    """Open sessions are cut, nobody is sent what he was not promised, and the next session is in the new codec."""
    camera = SimulatedCamera(b_frames=2)

    async def run() -> None:
        async with camera:
            for expected, faults in (("h264", CameraFaults(change_codec="h265")), ("hevc", CameraFaults())):
                player = Player(camera.rtsp_url_with_login)
                playing = asyncio.create_task(asyncio.to_thread(player.until, lambda shown: False))
                await shows(player, 5)
                assert player.codec == expected
                await camera.set_faults(faults)
                await asyncio.wait_for(playing, 10)
                # The last ones may be shown without those that were to come before them and were cut off.
                numbers = [each.number for each in player.shown][:-2]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            last = Player(camera.rtsp_url_with_login)
            await asyncio.to_thread(last.until, lambda shown: len(shown) > 3)
            assert last.codec == "h264"

    asyncio.run(run())


def test_a_change_can_cut_sessions() -> None:
    """Told so, the camera restarts its stream for any change, and a repeated fault is no change."""
    camera = SimulatedCamera(password="")
    faults = CameraFaults(change_fps=10, change_cuts_sessions=True)

    async def run() -> None:
        async with camera:
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                await camera.set_faults(faults)
                with pytest.raises((EOFError, ConnectionResetError)):
                    await asyncio.to_thread(_until_the_end, client)
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                await camera.set_faults(faults)
                assert (await asyncio.to_thread(client.ask, "GET_PARAMETER"))[0] == 200

    asyncio.run(run())


def _until_the_end(client: RawClient) -> None:
    while True:
        client.packet()


def test_rate_and_key_frames_change_within_the_session() -> None:
    """After the change pictures are further apart and key frames rare, and a second client has to wait for one."""
    camera = SimulatedCamera()

    async def run() -> None:
        async with camera:
            player = Player(camera.rtsp_url_with_login)
            playing = asyncio.create_task(
                asyncio.to_thread(player.until, lambda shown: sum(each.key for each in shown[30:]) >= 2)
            )
            await shows(player, 30)
            await camera.set_faults(CameraFaults(change_fps=10, change_gop_s=3.0))
            changed_ms = time.time() * 1000
            await shows(player, 5)
            second = await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=2)
            shown = await asyncio.wait_for(playing, 20)
        slow = [each for each in shown if each.unix_ms > changed_ms + 50]
        paces_ms = [later.unix_ms - each.unix_ms for each, later in pairwise(slow)]
        assert sum(paces_ms) / len(paces_ms) == pytest.approx(100, rel=0.1)
        keys = [each.number for each in shown if each.unix_ms > changed_ms - 150 and each.key]
        assert keys[1] - keys[0] == 30
        assert read_frame_stamp(second[0].data) == keys[1], "no key frame was made for the second client"

    asyncio.run(run())


def test_a_loop_refuses_to_change() -> None:
    """What was encoded beforehand cannot change: the error says so, over HTTP too, and nothing is changed."""
    stream = EncodedStream.make(width=320, height=180, gop=10, seconds=2, bits_per_s=300_000)
    with pytest.raises(ValueError, match="cannot change"):
        SimulatedCamera(source=stream, faults=CameraFaults(change_fps=5))
    camera = SimulatedCamera(source=stream)

    async def run() -> None:
        async with camera, aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{camera.http_port}/_faults"
            async with client.post(url, json={"freeze": True, "change_codec": "h265"}) as answer:
                assert answer.status == 400
                assert "stays as it is" in (await answer.json())["error"]
            assert camera.faults == CameraFaults()
            await camera.set_faults({"freeze": True})
            assert camera.faults == CameraFaults(freeze=True)
            with pytest.raises(ValueError, match="frezze"):
                await camera.set_faults({"frezze": True})

    asyncio.run(run())


@pytest.mark.parametrize("values", [{"change_width": 11}, {"change_codec": "av1"}, {"change_gop_s": 0.0}])
def test_an_impossible_change_changes_nothing(values: dict[str, object]) -> None:
    """The camera goes on as it was, and its faults are those of before."""
    camera = SimulatedCamera()

    async def run() -> None:
        async with camera:
            before = camera.description
            with pytest.raises(ValueError, match=r"11x360|av1|groups of 0"):
                await camera.set_faults(CameraFaults.from_json({"freeze": True, **values}))
            assert (camera.faults, camera.description) == (CameraFaults(), before)
            assert len(await asyncio.to_thread(play, camera.rtsp_url_with_login, packets=3)) == 3

    asyncio.run(run())


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_lost_packets_show_in_the_sequence_numbers(codec: str) -> None:
    """Every seventh packet is missing and no other; without the fault none is."""
    camera = SimulatedCamera(
        password="",
        source=EncodedStream.make(codec=codec, width=640, height=360, seconds=2, bits_per_s=2_000_000),
    )

    async def run() -> None:
        async with camera:
            with await asyncio.to_thread(RawClient, camera.rtsp_port) as client:
                await asyncio.to_thread(client.start)
                whole = await asyncio.to_thread(sequences, client, 200)
                await camera.set_faults(CameraFaults(lose_every_packets=7))
                await asyncio.to_thread(sequences, client, 200)  # what was on its way
                thinned = await asyncio.to_thread(sequences, client, 200)
        assert gaps(whole) == []
        assert gaps(thinned) == [number for number in range(thinned[0], thinned[-1]) if number % 7 == 0]

    asyncio.run(run())


def sequences(client: RawClient, count: int) -> list[int]:
    """Sequence numbers of the next packets of pictures, counted on over their wrapping."""
    found: list[int] = []
    while len(found) < count:
        channel, packet = client.packet()
        if channel != 0:
            continue
        number = int.from_bytes(packet[2:4], "big")
        if found and number < found[-1] - 32_768:
            return sequences(client, count)  # 65536 is no multiple of seven: begin anew behind the wrapping
        found.append(number)
    return found


def gaps(numbers: Sequence[int]) -> list[int]:
    """What is missing between the first and the last."""
    return sorted(set(range(numbers[0], numbers[-1])) - set(numbers))


def test_late_frames_keep_their_time_and_their_order() -> None:
    """With the fault pictures arrive later by so much, with the time at which they were taken; healed, none overtakes."""
    camera = SimulatedCamera(password="", faults=CameraFaults(frame_delay_s=0.6))

    async def run() -> None:
        async with camera:
            playing = asyncio.create_task(asyncio.to_thread(play, camera.rtsp_url, packets=60))
            deadline_s = time.monotonic() + OPENS_WITHIN_S
            while not camera.playing:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.01)
            await asyncio.sleep(1.5)
            healed_s = time.time()
            await camera.set_faults(CameraFaults())
            received = await asyncio.wait_for(playing, 20)
        stamps = [read_frame_stamp(each.data) for each in received]
        assert stamps == list(range(stamps[0] or 0, (stamps[0] or 0) + 60))
        ages_ms = [
            (each.arrived_s * 1000 - each.reading.unix_ms, each.arrived_s)
            for each in received
            if each.reading is not None
        ]
        assert min(age for age, arrived_s in ages_ms if arrived_s < healed_s) >= 590
        assert min(age for age, _ in ages_ms) < 300

    asyncio.run(run())
