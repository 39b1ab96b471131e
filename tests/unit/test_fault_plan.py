"""The plan of faults: the same for a seed, printed and read back, and refused where it makes no sense."""

from __future__ import annotations

import itertools
import json

import pytest

from simulators.camera.faults import CameraFaults
from simulators.centre.faults import HEALTHY, Faults, faults_from
from simulators.centre.put_faults import PutFaults, put_faults_from
from simulators.fault_doors import button_fault, camera_faults, centre_faults, media_faults
from simulators.fault_kinds import KINDS, kind_of
from simulators.faults import PlannedFault, as_json_lines, as_table, make_plan, read_plan

ALL = ["button", "camera-1", "camera-2", "centre", "media"]


def every_kind(simulator: str) -> list[PlannedFault]:
    """One line for each fault with each of its values."""
    for_s = 0.0 if simulator == "button" else 5.0
    return [
        PlannedFault(at_s=1.0, simulator=simulator, fault=fault, value=value, for_s=for_s)
        for fault, kind in KINDS[kind_of(simulator)].items()
        for value in kind.values or (None,)
    ]


def test_a_seed_gives_the_same_plan_for_ever() -> None:
    """These lines were written down when the plan was made; who kept a seed gets his faults again."""
    plan = make_plan(7, duration_s=60, simulators=ALL)
    assert plan == make_plan(7, duration_s=60, simulators=ALL)
    assert plan != make_plan(8, duration_s=60, simulators=ALL)
    kept = [line for line in plan if line.simulator == "centre"]
    assert kept == [
        PlannedFault(at_s=8.3, simulator="centre", fault="slow", value=10, for_s=7.5),
        PlannedFault(at_s=24.3, simulator="centre", fault="drop", for_s=4.5),
        PlannedFault(at_s=33.7, simulator="centre", fault="refuse", for_s=4.6),
        PlannedFault(at_s=43.1, simulator="centre", fault="skew", value=-120, for_s=7.0),
    ]


def test_a_simulator_keeps_its_lines_whatever_else_is_in_the_plan() -> None:
    """Another camera, or a longer plan, changes no line that was there."""
    alone = make_plan(3, duration_s=120, simulators=["camera-1"])
    assert alone
    assert alone == tuple(
        line for line in make_plan(3, duration_s=120, simulators=ALL) if line.simulator == "camera-1"
    )
    assert make_plan(3, duration_s=300, simulators=["camera-1"])[: len(alone)] == alone


@pytest.mark.parametrize("seed", range(20))
def test_every_simulator_plays_all_it_can_one_at_a_time_and_ends_well(seed: int) -> None:
    """No two faults at once, some seconds in good order between two, all kinds within ten minutes, good order at the end."""
    plan = make_plan(seed, duration_s=600, simulators=ALL)
    assert list(plan) == sorted(plan, key=lambda line: (line.at_s, line.simulator))
    for simulator in ALL:
        lines = [line for line in plan if line.simulator == simulator]
        assert {line.fault for line in lines} == set(KINDS[kind_of(simulator)])
        gaps = [after.at_s - before.end_s for before, after in itertools.pairwise(lines)]
        assert min(gaps) >= (1.9 if simulator == "button" else 2.9)
        assert lines[-1].end_s < 600


@pytest.mark.parametrize("seed", range(5))
def test_both_prints_are_read_back_to_the_same_plan(seed: int) -> None:
    """A plan printed as a table or as JSON lines is the same plan again, and prints the same."""
    plan = make_plan(seed, duration_s=300, simulators=ALL)
    table, lines = as_table(plan, f"seed {seed}\nof a test"), as_json_lines(plan)
    assert read_plan(table) == read_plan(lines) == plan
    assert as_json_lines(read_plan(table)) == lines
    assert as_table(read_plan(lines), f"seed {seed}\nof a test") == table
    for line in lines.splitlines():
        assert set(json.loads(line)) == {"at_s", "simulator", "fault", "value", "for_s"}
    every = tuple(line for simulator in ALL for line in every_kind(simulator))
    assert [read_plan(as_table((line,))) for line in every] == [(line,) for line in every]


def test_only_some_faults() -> None:
    """What is not asked for does not come, and a simulator that can play none of it stays as it is."""
    plan = make_plan(1, duration_s=300, simulators=ALL, only=["freeze", "skew"])
    assert {(kind_of(line.simulator), line.fault) for line in plan} == {
        ("button", "skew"),
        ("camera", "freeze"),
        ("camera", "skew"),
        ("centre", "freeze"),
        ("centre", "skew"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 - lamp none -", "line 1: simulator: found 'lamp', expected button, centre, media or camera-1"),
        ("1 5 camera freeze -", "simulator: found 'camera'"),
        ("1 5 camera-0 freeze -", "simulator: found 'camera-0'"),
        (
            "# all well\n\n1 5 centre explode -",
            "line 3: centre: fault: found 'explode', expected one of drop",
        ),
        ("1 5 centre freeze 3", "found the value 3, expected none"),
        ("1 5 centre delay -", "found the value None, expected a number of s"),
        ("1 5 centre delay -3", "found the value -3, expected a number of s that is not negative"),
        ("1 5 camera-1 drop 1.5", "found the value 1.5, expected a whole number of packets"),
        ("1 5 camera-1 delay nan", "found the value nan"),
        ("1 - centre freeze -", "for_s: found 0, expected more than 0 seconds"),
        ("1 5 button drop -", "for_s: found 5, expected none: a fault of a button is one press"),
        ("soon 5 centre freeze -", "at_s: found 'soon', expected a number"),
        ("-1 5 centre freeze -", "at_s: found -1, expected 0 to 86400 seconds"),
        ("1 5 centre", "expected at_s, for_s, simulator, fault and value"),
        ('{"at_s": 1}', "expected an object with at_s, simulator"),
        ('{"at_s": true, "simulator": "centre", "fault": "freeze", "for_s": 1}', "at_s: found True"),
        ('{"at_s": 1, "simulator": ["centre"], "fault": "freeze", "for_s": 1}', "expected texts"),
        ('{"at_s": 1', "not JSON"),
        (
            "1 5 centre freeze -\n3 5 centre drop -",
            "centre: drop at 3 s begins before freeze ends at 6 s",
        ),
    ],
)
def test_a_plan_of_no_sense_is_refused_with_its_line(text: str, said: str) -> None:
    """Each mistake is named with its line, what was found and what was expected."""
    with pytest.raises(ValueError, match=r"^(line \d+: |centre: drop)") as error:
        read_plan(text)
    assert said in str(error.value)


def test_every_fault_of_a_plan_is_one_that_the_simulators_have() -> None:
    """Whatever a plan can say is taken by the camera's, the centre's and the button's own readers, and changes something."""
    for line in every_kind("camera-1"):
        assert CameraFaults.from_json(camera_faults(line)) != CameraFaults(), line
    for line in every_kind("centre"):
        assert faults_from(HEALTHY, centre_faults(line)) != HEALTHY, line
    for line in every_kind("media"):
        assert put_faults_from(PutFaults(), media_faults(line)) != PutFaults(), line
    of_the_device = {"none", "skew", "wrong-password"}
    for line in every_kind("button"):
        assert (str(button_fault(line)) == "none") == (line.fault in of_the_device), line


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_s": float("nan")},
        {"reorder_s": -1.0},
        {"clock_skew_s": float("inf")},
        {"repeat_replies": 21},
        {"repeat_replies": -1},
        {"bytes_per_s": 0},
        {"answer": "sing"},
    ],
)
def test_a_centre_refuses_faults_of_no_sense(wrong: dict[str, float]) -> None:
    """What cannot be played is refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)  # type: ignore[arg-type]
