"""Cells side by side: rounds in random order, one child at work at a time, and a fault that costs its own cell only."""

import os
import signal
import time
from dataclasses import replace
from math import inf
from random import Random
from types import SimpleNamespace

import pytest

from bench.cell import Variant
from bench.effort import Effort
from bench.parent.children import child as children
from bench.parent.children import group as groups
from bench.parent.children.child import Child
from bench.parent.children.group import Group
from bench.parent.children.member import Member, Slice
from tests.fakes.bench import CELL, faulty_suite, filled_cache
from tests.fakes.door import is_stopped, workers_of
from tests.test_control import USUAL, Planned, slow

ROUNDS = 4
EFFORT = Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=60.0, min_rounds=ROUNDS, relative_half_width=inf, parts="none")
"""So many rounds, and none more to be sure."""
A, B, C, D = (replace(CELL, backend=name) for name in "abcd")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return filled_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def suite(cache, tmp_path):
    return replace(faulty_suite(cache, tmp_path), effort=EFFORT)


@pytest.fixture(autouse=True)
def _no_child_is_left():
    yield
    assert workers_of(os.getpid()) == []


@pytest.fixture
def ready(suite):
    """Returns a cell that can be started, its adapter with this fault."""

    def made(cell, fake="", **changes):
        return replace(suite.ready(cell), side=Variant(environment={"SAMESTEP_FAKE": fake}), **changes)

    return made


class Watched:
    """Runs a group, and remembers its slices as (round, cell), and what it said."""

    def __init__(self, seed=0, effort=EFFORT, on_slice=lambda cell, number, one: None, **more):
        self.slices, self.said = [], []

        def taken(cell, number, one):
            self.slices.append((number, cell))
            on_slice(cell, number, one)

        self.group = Group(effort, Random(seed), on_slice=taken, say=self.said.append, **more)

    def run(self, *readies):
        self.measured = self.group.run(readies)
        return self

    @property
    def statuses(self):
        return {cell: one.outcome.status for cell, one in self.measured.items()}

    @property
    def rounds(self):
        """The rounds that count, by cell."""
        return {cell: sorted(one.kept) for cell, one in self.measured.items()}


def test_each_round_has_a_slice_of_every_cell_in_an_order_of_its_own(ready):
    found = Watched().run(ready(A), ready(B), ready(C))
    rounds = [[cell for number, cell in found.slices if number == n] for n in range(ROUNDS)]
    assert [set(one) for one in rounds] == [{A, B, C}] * ROUNDS
    assert len({tuple(one) for one in rounds}) > 1
    assert [number for number, _ in found.slices] == sorted(number for number, _ in found.slices)
    assert found.statuses == {A: "ok", B: "ok", C: "ok"}
    for one in found.measured.values():
        assert (sorted(one.kept), one.left_out) == ([*range(ROUNDS)], 0)
        assert all(each.latency_s > 0 and each.n > 0 and each.readings == () for each in one.kept.values())
        assert one.outcome.result["samples_s"]


def test_the_order_is_that_of_the_random_numbers_and_the_rounds_have_their_own(ready):
    first, same = (Watched(seed=3, first_round=start).run(ready(A), ready(B)) for start in (0, 2000))
    assert [(n + 2000, cell) for n, cell in first.slices] == same.slices
    assert same.rounds == {A: [2000, 2001, 2002, 2003], B: [2000, 2001, 2002, 2003]}


def test_while_one_works_all_others_stand_still(ready, monkeypatch):
    beside, send = [], Child._send

    def sending(child, line):
        if line.get("do") in ("settle", "slice"):
            beside.append([is_stopped(pid) for pid in workers_of(os.getpid()) if pid != child.pid])
        send(child, line)

    monkeypatch.setattr(Child, "_send", sending)
    Watched().run(ready(A), ready(B), ready(C))
    assert beside == [[True, True]] * (3 + 3 * ROUNDS)


def test_a_child_whose_device_would_stop_with_it_waits_for_its_next_command(ready):
    stopped = []
    watched = Watched(on_slice=lambda *one: stopped.append(sum(map(is_stopped, workers_of(os.getpid())))))
    watched.run(ready(A), ready(B, device_kind="cuda"))
    assert stopped == [1] * 2 * ROUNDS


@pytest.mark.parametrize(
    ("fake", "status"),
    [
        ("kill@build", "crashed"),
        ("raise@compile", "broken"),
        ("raise@warm_up", "broken"),
        ("segfault@measure", "crashed"),
        ("exit@close", "crashed"),
    ],
)
def test_a_fault_costs_its_own_cell_only(ready, fake, status):
    stage = fake.partition("@")[2]
    found = Watched().run(ready(A), ready(B, fake), ready(C))
    assert found.statuses == {A: "ok", B: status, C: "ok"}
    assert found.measured[B].outcome.stage == stage
    assert (found.rounds[A], found.rounds[C]) == ([*range(ROUNDS)],) * 2


@pytest.mark.parametrize("fake", ["sleep@compile", "stop@measure", "sleep@measure", "stop@close"])
def test_a_child_that_hangs_costs_its_own_cell_only(ready, monkeypatch, fake):
    stage = fake.partition("@")[2]
    monkeypatch.setitem(children.DEADLINES_S, stage, 2.0)
    found = Watched().run(ready(A), ready(B, fake), ready(C))
    assert found.statuses == {A: "ok", B: "timeout", C: "ok"}
    assert found.measured[B].outcome.reason == f"{stage} took longer than 2 s"
    assert (found.rounds[A], found.rounds[C]) == ([*range(ROUNDS)],) * 2


def test_the_first_cell_may_fail_as_any_other(ready):
    found = Watched().run(ready(A, "segfault@measure"), ready(B), ready(C))
    assert found.statuses == {A: "crashed", B: "ok", C: "ok"}


def test_a_child_killed_while_it_stands_still_costs_its_own_cell_only(ready):
    def strike(cell, number, one):
        if number == 1 and len(workers := workers_of(os.getpid())) == 2:
            os.kill(workers[0], signal.SIGKILL)

    found = Watched(on_slice=strike).run(ready(A), ready(B))
    assert sorted(found.statuses.values()) == ["crashed", "ok"]
    (struck,) = (cell for cell, status in found.statuses.items() if status == "crashed")
    assert found.measured[struck].outcome.reason == "child ended by SIGKILL in stage measure"
    assert found.rounds[A if struck is B else B] == [*range(ROUNDS)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_is_raised_no_child_is_left_stopped_or_not(ready, error):
    def fail(cell, number, one):
        assert len(workers_of(os.getpid())) == 3
        raise error

    with pytest.raises(error):
        Watched(on_slice=fail).run(ready(A), ready(B), ready(C))


def test_where_a_failure_ends_the_run_nothing_more_is_timed(ready):
    found = Watched(stops_at_failure=True).run(ready(A), ready(B, "raise@build"), ready(C))
    assert found.statuses == {B: "broken"}
    assert found.slices == []
    wrong = Watched(stops_at_failure=True).run(ready(A), ready(B, "raise@verify"), ready(C))
    assert (wrong.statuses, wrong.slices) == ({B: "broken"}, [])
    known = Watched(stops_at_failure=True).run(ready(A), ready(B, "raise@build", is_known_to_fail=True))
    assert known.statuses == {A: "ok", B: "broken"}
    calm = Watched(stops_at_failure=True).run(ready(A), ready(B))
    assert calm.statuses == {A: "ok", B: "ok"}


@pytest.fixture
def room_for(monkeypatch):
    """Has memory for so many children at a time."""

    def made(n):
        monkeypatch.setattr(groups, "available_bytes", lambda: 1 << 50 if len(workers_of(os.getpid())) < n else 0)

    return made


def test_a_group_that_does_not_fit_is_measured_in_parts_each_with_the_first_cell(ready, room_for):
    room_for(2)
    found = Watched().run(ready(A), ready(B), ready(C), ready(D))
    assert found.statuses == {A: "ok", B: "ok", C: "ok", D: "ok"}
    assert found.rounds == {A: [*range(12)], B: [0, 1, 2, 3], C: [4, 5, 6, 7], D: [8, 9, 10, 11]}
    assert [line.strip() for line in found.said if "no room" in line] == [
        "no room in memory beside these for c, d: measured apart, beside the first again",
        "no room in memory beside these for d: measured apart, beside the first again",
    ]


def test_without_room_for_two_they_are_measured_two_at_a_time(ready, room_for):
    room_for(0)
    found = Watched().run(ready(A), ready(B), ready(C))
    assert found.statuses == {A: "ok", B: "ok", C: "ok"}
    assert len(found.rounds[B]) == len(found.rounds[C]) == ROUNDS
    assert {*found.rounds[B], *found.rounds[C]} <= {*found.rounds[A]}
    assert not {*found.rounds[B]} & {*found.rounds[C]}


def test_what_a_child_has_held_is_what_the_next_one_is_taken_to_need(ready, monkeypatch):
    monkeypatch.setattr(groups, "available_bytes", lambda: 1800 if workers_of(os.getpid()) else 3000)
    monkeypatch.setattr(groups, "held_bytes", lambda pid, which: {"peak": 2000, "now": 0}[which])
    found = Watched().run(*(ready(cell, need_bytes=1500) for cell in (A, B, C)))
    assert [line.count("no room") for line in found.said].count(1) == 1
    assert found.rounds == {A: [*range(8)], B: [0, 1, 2, 3], C: [4, 5, 6, 7]}


def test_what_first_steps_take_of_memory_is_looked_at_before_the_next_one_takes_it(ready, monkeypatch):
    """The first child grows by 500 in its first steps; then there is room for 400."""
    asked = {}

    def held(pid, which):
        asked[pid] = asked.get(pid, 0) + (which == "now")
        return 100 if which == "peak" or asked[pid] % 2 else 600

    rooms = iter([9000] * 4 + [400])
    monkeypatch.setattr(groups, "held_bytes", held)
    monkeypatch.setattr(groups, "available_bytes", lambda: next(rooms, 9000))
    found = Watched().run(*(ready(cell, need_bytes=50) for cell in (A, B, C)))
    assert found.statuses == {A: "ok", B: "ok", C: "ok"}
    assert found.rounds == {A: [*range(8)], B: [0, 1, 2, 3], C: [4, 5, 6, 7]}
    assert [line.strip() for line in found.said if "no room" in line] == [
        "no room in memory beside these for c: measured apart, beside the first again"
    ]


@pytest.fixture
def killed_for_memory(monkeypatch):
    """The kernel kills a child for memory where more than so many are there."""

    def made(n):
        monkeypatch.setattr(children, "memory_kills", time.monotonic_ns)

        def strike(cell, number, one):
            if len(workers := workers_of(os.getpid())) > n:
                os.kill(workers[-1], signal.SIGKILL)

        return strike

    return made


def test_what_is_killed_for_memory_beside_others_is_measured_apart(ready, killed_for_memory):
    """What is not there beside others is no verdict on a cell."""
    found = Watched(on_slice=killed_for_memory(2)).run(ready(A), ready(B), ready(C))
    assert found.statuses == {A: "ok", B: "ok", C: "ok"}
    assert all(len(of_cell) >= ROUNDS for of_cell in found.rounds.values())
    assert not {*found.rounds[B]} & {*found.rounds[C]}
    assert sum("no room" in line for line in found.said) == 1
    stopping = Watched(on_slice=killed_for_memory(2), stops_at_failure=True).run(ready(A), ready(B), ready(C))
    assert stopping.statuses == {A: "ok", B: "ok", C: "ok"}


def test_what_is_killed_for_memory_apart_too_is_out_of_memory(ready, killed_for_memory):
    found = Watched(on_slice=killed_for_memory(1)).run(ready(A), ready(B))
    assert sorted(found.statuses.values()) == ["ok", "out_of_memory"]
    assert sum("no room" in line for line in found.said) == 1


def test_a_first_cell_that_runs_out_of_memory_when_it_was_measured_before_keeps_what_it_gave(
    ready, room_for, monkeypatch
):
    """It is there for the others' sake, and nowhere twice at once."""
    room_for(2)
    monkeypatch.setattr(children, "memory_kills", time.monotonic_ns)

    def strike(cell, number, one):
        if number == ROUNDS + 1 and len(workers := workers_of(os.getpid())) == 2:
            os.kill(workers[0], signal.SIGKILL)

    found = Watched(on_slice=strike).run(ready(A), ready(B), ready(C), ready(D))
    assert found.statuses == {A: "ok", B: "ok", C: "ok", D: "ok"}
    assert {*range(ROUNDS)} < {*found.rounds[A]}
    assert all(len(found.rounds[cell]) >= ROUNDS for cell in (B, C, D))
    assert len(found.slices) == len({*found.slices})


def test_a_first_cell_that_runs_out_of_memory_beside_others_is_measured_alone(ready, monkeypatch):
    monkeypatch.setattr(children, "memory_kills", time.monotonic_ns)
    found = Watched().run(ready(A, "kill@verify"), ready(B))
    assert found.statuses == {A: "out_of_memory", B: "ok"}
    assert found.rounds[B] == [*range(ROUNDS)]


def test_where_memory_is_unknown_all_are_started(ready, monkeypatch):
    monkeypatch.setattr(groups, "available_bytes", lambda: None)
    found = Watched().run(*map(ready, (A, B, C)))
    assert found.rounds == {cell: [0, 1, 2, 3] for cell in (A, B, C)}


def test_a_first_cell_that_failed_is_in_no_other_part(ready, room_for):
    room_for(2)
    found = Watched().run(ready(A, "raise@build"), ready(B), ready(C), ready(D))
    assert found.statuses == {A: "broken", B: "ok", C: "ok", D: "ok"}
    assert {cell for _, cell in found.slices} == {B, C, D}


@pytest.mark.parametrize("which", [0, 1])
def test_a_failure_that_ends_the_run_ends_it_in_parts_too(ready, room_for, which):
    room_for(2)
    fakes = ["", "", ""]
    fakes[which] = "raise@build"
    found = Watched(stops_at_failure=True).run(*map(ready, (A, B, C), fakes))
    assert (found.statuses, found.slices) == ({(A, B)[which]: "broken"}, [])


class Beside(Planned):
    """Is slow in the readings with these numbers, counted from 0."""

    def __init__(self, *slow_ones, always=False):
        super().__init__(cpus=(0, 1))
        self.slow_ones, self.always, self.n = slow_ones, always, -1

    def read(self):
        self.n += 1
        self.readings.append(slow(2.0) if self.always or self.n in self.slow_ones else USUAL)
        return self.readings[-1]

    @property
    def usual(self):
        return USUAL

    def settled(self, last=None):
        return self.read() if last is None or self.is_low(last) else last


@pytest.mark.parametrize(("slow_ones", "left_out"), [((), []), ((3,), [2]), ((4,), [3]), ((0, 3), [0, 2])])
def test_rounds_beside_a_slow_control_are_left_out_and_made_up_for(ready, slow_ones, left_out):
    found = Watched(control=Beside(*slow_ones)).run(ready(A))
    one = found.measured[A]
    assert one.left_out == len(left_out)
    assert sorted(one.kept) == [n for n in range(ROUNDS + len(left_out)) if n not in left_out]
    assert one.columns["machine_slower"] == 0.0
    assert [n for n, _ in found.slices] == [*range(ROUNDS + len(left_out))]


def test_a_slow_control_leaves_out_the_slice_beside_it_and_no_other_of_its_round(ready):
    found = Watched(control=Beside(1)).run(ready(A), ready(B))
    first, second = (cell for _, cell in found.slices[:2])
    assert (found.measured[first].left_out, found.measured[second].left_out) == (1, 0)
    assert 0 in found.measured[second].kept


def test_a_machine_that_is_always_slow_is_given_up_in_time(ready, suite):
    found = Watched(effort=replace(EFFORT, budget_s=0.05), control=Beside(always=True)).run(ready(A))
    one = found.measured[A]
    assert (one.kept, one.left_out, one.outcome.status) == ({}, len(found.slices), "ok")
    assert one.left_out > 0
    launch = suite.concluded(ready(A), one)
    assert (launch.columns["rounds_n"], launch.columns["rounds_left_out"]) == (0, one.left_out)
    assert "unsettled" in launch.verdict.flags


def member(cell, *seconds, over=False, rounds=None):
    slices = {n: Slice(s, 1 / s, 9, ()) for n, s in zip(rounds or range(99), seconds, strict=False)}
    return Member(SimpleNamespace(cell=cell), SimpleNamespace(is_over=over), slices=slices)


def uncertain(*members, is_late=False, width=0.05):
    group = Group(replace(EFFORT, min_rounds=6, relative_half_width=width), Random(0))
    return [one.ready.cell for one in group._uncertain(members, is_late)]


STEADY, NOISY = [1.0] * 8, [1.0, 1.5] * 4


def test_a_group_is_done_when_every_ratio_is_sure():
    assert uncertain(member(A, *STEADY), member(B, *STEADY)) == []


def test_what_is_unsure_goes_on_beside_what_it_is_compared_with():
    fastest = [one / 2 for one in STEADY]
    found = uncertain(member(A, *STEADY), member(B, *NOISY), member(C, *fastest), member(D, *STEADY))
    assert set(found) == {A, B, C}


def test_what_lacks_rounds_goes_on_and_late_nothing_else_does():
    few = member(B, *STEADY[:5])
    assert set(uncertain(member(A, *STEADY), few, member(C, *NOISY))) == {A, B, C}
    assert uncertain(member(A, *STEADY), few, member(C, *NOISY), is_late=True) == [A, B]
    assert uncertain(member(A, *STEADY), member(C, *NOISY), is_late=True) == []


def test_who_has_ended_is_asked_no_more():
    assert uncertain(member(A, *STEADY), member(B, *NOISY, over=True)) == []
    assert uncertain(member(A, over=True), member(B, *STEADY[:2])) == [B]


def test_one_cell_alone_needs_its_rounds_only():
    assert uncertain(member(A, *NOISY)) == []
    assert uncertain(member(A, *NOISY[:5])) == [A]


def told(*members):
    said = []
    Group(EFFORT, Random(0), say=said.append)._tell(members, 8)
    return said


def test_how_the_cells_stand_to_the_first_is_said_as_far_as_it_is_known():
    first, slower = member(A, *STEADY), member(B, *[2.0] * 8)
    assert told(first, slower) == ["    after 8 rounds, as fast as a: b 0.50x ±3%"]
    assert told(first, member(B, *[2.0] * 5)) == []
    assert told(first, slower, member(C)) == ["    after 8 rounds, as fast as a: b 0.50x ±3%"]


def test_others_on_the_same_device_are_counted_while_they_live():
    def on(index, kind="cuda", over=False):
        made = member(replace(A, device_index=index), over=over)
        made.ready.device_kind = kind
        return made

    group = Group(EFFORT, Random(0))
    ours = on(0)
    group._members = [ours, on(0), on(0, over=True), on(1), on(0, "tpu")]
    assert group._beside(ours) == 1
