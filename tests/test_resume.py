"""An interrupted run goes on: nothing that was finished is done again, and what is missing is."""

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.parent.groups import Order, group_id_of, groups_of, whole_groups
from bench.parent.plans import options
from bench.parent.plans.variant import side_of
from bench.parent.record import Launch
from bench.parent.session import BenchSession
from bench.parent.suite import CellResult
from results.record.csvfile import read_csv
from results.record.journal import JOURNAL_NAME, Journal
from results.record.run import latest_run, read_run
from tests.fakes.bench import EFFORT
from tests.fakes.door import bench, command, environment, run_in, wait_for
from tests.fakes.rows import HEADER, LATER_RUN_ID, RUN_ID, row_of
from tests.qa import kill

NULL = ("--preset", "smoke", "--workloads", "mlp", "--backends", "null", "--launches", "2", "--results-dir", "runs")


NAMES = ("torch_cpu", "jax_cpu", "openvino_cpu")
FAILING = NAMES[0]


def cell(backend=FAILING, phase="infer", batch=4):
    return Cell("mlp", "tiny", phase, backend, batch, None, "fp32", 1)


CELLS = [cell(backend, phase) for backend in NAMES for phase in ("infer", "train")]
MANY = [cell(backend, batch=batch) for backend in NAMES for batch in range(1, 7)]


class FakeSuite:
    """Launches nothing: a cell's launches come out as `ends` says, `ok` where it says nothing."""

    effort, longest_stage_s = EFFORT, None

    def __init__(self, **ends):
        self.ends = {name: iter(statuses) for name, statuses in ends.items()}
        self.asked = []

    def prepare(self, cells):
        """Nothing is made."""

    def can_start(self, cell):
        return True

    def ready(self, cell):
        self.asked.append(cell)
        status, quality = next(self.ends.get(cell.backend, iter(())), ("ok", "valid"))
        columns = cell.columns() | {"status": status, "stage": "close", "launch_s": 1.0}
        if status != "ok":
            code = "does_not_wait" if quality == "doubtful" else None
            return Launch(columns | {"reason": "planned", "reason_code": code})
        numbers = {"verification": "passed", "latency_p50_s": 1.0, "throughput_samples_per_s": 4.0}
        numbers |= {"samples_per_step": 4, "flops_per_s": 0.0, "throughput_flops_per_s": 0.0}
        numbers |= {"rounds_latency_s": "0:1", "rounds_samples_per_s": "0:4", "throughput_bytes_per_s": 0.0}
        numbers |= {"flops_per_step": 0, "minimum_bytes_per_step": 0}
        numbers |= {"device_other_processes": int(quality == "invalid")}
        return Launch(columns | numbers, {"samples_s": (1.0,)})


@pytest.fixture
def session(tmp_path):
    opened = []

    def build(suite, launches=1, planned=CELLS, **more):
        journal = Journal.create(tmp_path, RUN_ID, HEADER)
        opened.append(journal)
        journal.plan([{"run_id": RUN_ID} | c.columns() for c in planned])
        return BenchSession(
            journal=journal,
            suite=suite,
            order=Order(launches, "seed"),
            groups=groups_of(planned),
            common={"run_id": RUN_ID},
            say=lambda text: None,
            **more,
        )

    yield build
    for journal in opened:
        journal.close()


def all_generations(session):
    list(session.early_rounds())
    groups = session.order.shuffled(session.groups, session.order.launches - 1)
    return {c: session.run(c) for group in groups for c in group}


def test_a_group_has_what_a_ratio_compares_the_baseline_first():
    groups = groups_of([*CELLS, cell("torch_cuda"), cell("null")], baseline="jax_cpu")
    assert [[(c.backend, c.phase) for c in group] for group in groups] == [
        [("jax_cpu", "infer"), ("torch_cpu", "infer"), ("openvino_cpu", "infer")],
        [("jax_cpu", "train"), ("torch_cpu", "train"), ("openvino_cpu", "train")],
        [("torch_cuda", "infer")],
        [("null", "infer")],
    ]
    assert [group_id_of(group[0]) for group in groups[:3]] == [
        "mlp tiny infer b4 t1 cpu",
        "mlp tiny train b4 t1 cpu",
        "mlp tiny infer b4 t1 cuda",
    ]


def test_each_generation_has_every_group_once_in_an_order_of_its_own(session):
    suite = FakeSuite()
    results = all_generations(session(suite, launches=3, planned=MANY))
    generations = [suite.asked[i : i + len(MANY)] for i in range(0, 3 * len(MANY), len(MANY))]
    assert [set(one) for one in generations] == [set(MANY)] * 3
    assert len({tuple(one) for one in generations}) == 3
    for one in generations:  # the cells of a group are side by side
        assert [len({c.batch for c in one[i : i + 3]}) for i in range(0, len(MANY), 3)] == [1] * 6
    assert [result.columns["launches_ok"] for result in results.values()] == [3] * len(MANY)
    assert {result.columns["group_id"] for result in results.values()} == {group_id_of(c) for c in MANY}


def test_the_order_is_that_of_the_seed_whatever_order_the_groups_come_in():
    order, groups = Order(1, "seed"), groups_of(MANY)
    assert order.shuffled(groups, 0) == order.shuffled(reversed(groups), 0)
    assert order.shuffled(groups, 0) != Order(1, "another").shuffled(groups, 0)


@pytest.mark.parametrize("status", ["wrong", "refused", "broken", "timeout"])
def test_what_failed_for_good_is_not_launched_again(session, status):
    suite = FakeSuite(torch_cpu=[(status, None)] * 2)
    ours = session(suite, launches=3)
    failed = {c for c, has_failed in ours.early_rounds() if has_failed}
    assert failed == {cell(), cell(phase="train")}
    assert ours.run(cell()).columns["status"] == status
    assert suite.asked.count(cell()) == 1
    assert suite.asked.count(cell("jax_cpu")) == 3


def test_a_crash_is_launched_again(session):
    results = all_generations(session(FakeSuite(torch_cpu=[("crashed", None)]), launches=2))
    failures = {c: result.columns["launches_failed"] for c, result in results.items()}
    assert sorted(failures.values()) == [0] * 5 + [1]


def test_a_disturbed_launch_is_repeated_once_and_both_are_kept(session, tmp_path):
    suite = FakeSuite(torch_cpu=[("ok", "invalid"), ("ok", "valid")])
    row = session(suite, planned=[cell()]).run(cell()).columns
    assert (row["status"], row["launches_ok"], row["launches_invalid"]) == ("ok", 1, 1)
    launches = read_run(tmp_path / RUN_ID).launches
    assert [(one["number"], one["attempt"], one["order"]) for one in launches] == [(0, 1, 0), (0, 2, 1)]


def test_a_disturbed_group_is_measured_again_whole_and_after_the_others(session):
    suite = FakeSuite(torch_cpu=[("ok", "invalid")])
    ours = session(suite)
    disturbed, other = ours.order.shuffled(ours.groups, 0)
    results = all_generations(ours)
    assert suite.asked == [*disturbed, *other, *disturbed]
    assert {results[c].columns["launches_ok"] for c in disturbed} == {1, 2}
    assert [results[c].columns["launches_ok"] for c in other] == [1] * 3


def test_a_launch_disturbed_twice_is_given_up(session):
    suite = FakeSuite(torch_cpu=[("ok", "invalid")] * 9)
    ours = session(suite, planned=[cell()])
    row = ours.run(cell()).columns
    assert (row["status"], row["reason_code"], len(suite.asked)) == ("disturbed", "disturbed", 2)
    assert (ours.failed, ours.fails(cell(), "disturbed")) == ([], False)
    assert replace(ours, fails_on_disturbed=True).fails(cell(), "disturbed")


@pytest.mark.parametrize(("second", "status"), [("ok", "ok"), ("refused", "refused"), ("wrong", "wrong")])
def test_a_launch_that_seemed_not_to_wait_is_repeated_once(session, second, status):
    suite = FakeSuite(torch_cpu=[("refused", "doubtful"), (second, "valid"), ("ok", "valid")])
    row = session(suite, planned=[cell()]).run(cell()).columns
    assert (row["status"], len(suite.asked)) == (status, 2)


def test_a_run_whose_time_is_up_begins_nothing_more(session, tmp_path):
    suite = FakeSuite()
    ours = session(suite, time_budget_s=0.0)
    results = all_generations(ours)
    assert suite.asked == []
    assert {result.columns["reason_code"] for result in results.values()} == {"budget"}
    assert ours.ran_out_of_time
    assert {row["status"] for row in read_run(tmp_path / RUN_ID).rows} == {"not_run"}


def test_a_session_that_remembers_does_the_rest_alone(session):
    suite = FakeSuite()
    ours = session(suite, launches=2)
    done, half = cell(), cell("jax_cpu")
    ours.remember(done, [], {"status": "ok", "latency_p50_s": 7.0, "reason": None})
    ours.remember(half, [FakeSuite().ready(half)], None)
    assert ours.is_done(done)
    results = all_generations(ours)
    assert results[done] == CellResult({"status": "ok", "latency_p50_s": 7.0}, ())
    assert (suite.asked.count(done), suite.asked.count(half)) == (0, 1)
    assert results[half].columns["launches_ok"] == 2


def test_what_another_run_has_measured_is_not_launched(session, tmp_path):
    suite, said = FakeSuite(), []
    ours = session(suite, planned=[cell()])
    ours.say = said.append
    known = row_of(**cell().columns(), latency_p50_s=2.0, measured_in=LATER_RUN_ID, run_id=LATER_RUN_ID)
    ours.take_over({cell(): {name: value for name, value in known.items() if value is not None}})
    assert ours.is_done(cell())
    assert ours.run(cell()).columns["latency_p50_s"] == 2.0
    assert suite.asked == []
    assert said == ["mlp: measured within a day on this machine with this software, and not again"]
    (row,) = read_run(tmp_path / RUN_ID).rows
    assert (row["run_id"], row["measured_in"]) == (RUN_ID, LATER_RUN_ID)


A, B = (replace(cell(), variant=side_of(*side)) for side in (("A", "base"), ("B", "threads=1")))


class Clocked(FakeSuite):
    """Its run's time is up after so many launches."""

    def __init__(self, launches, **ends):
        super().__init__(**ends)
        self.left, self.session = launches, None

    def ready(self, cell):
        self.left -= 1
        if self.left == 0:
            self.session.time_budget_s = 0.0
        return super().ready(cell)


@pytest.mark.parametrize("launches", [1, 2, 3, 4, 5, 11])
def test_when_the_time_is_up_a_group_is_ended_and_none_begun(session, launches):
    suite = Clocked(launches)
    suite.session = ours = session(suite, launches=6, planned=[A, B])
    all_generations(ours)
    assert "".join(one.variant.letter for one in suite.asked) == "ABABABABABAB"[: launches + launches % 2]
    assert ours.ran_out_of_time == (launches < 11)


def test_a_side_that_failed_for_good_ends_the_other_one(session):
    suite = FakeSuite(torch_cpu=[("ok", "valid"), ("ok", "valid"), ("ok", "valid"), ("wrong", None)])
    results = all_generations(session(suite, launches=6, planned=[A, B]))
    assert "".join(one.variant.letter for one in suite.asked) == "ABAB"
    assert [results[side].columns["status"] for side in (A, B)] == ["ok", "wrong"]


@pytest.mark.parametrize(
    ("made", "kept"), [("", 0), ("A0", 0), ("A0 B0", 2), ("A0 B0 B1", 2), ("A0 B0 B1 B1", 2), ("A0 B0 B1 A1", 4)]
)
def test_a_run_that_goes_on_measures_the_last_group_anew_unless_it_is_whole(made, kept):
    sides = {"A": A, "B": B}
    launches = [sides[side].columns() | {"number": int(number)} for side, number in made.split()]
    assert whole_groups(launches, [[A.columns(), B.columns()]]) == launches[:kept]


def test_who_cannot_be_launched_keeps_no_group_from_being_whole():
    launches = [A.columns() | {"number": number, "status": "ok"} for number in (0, 1)]
    groups = [[A.columns(), B.columns()]]
    assert whole_groups(launches, groups) == []
    assert (
        whole_groups(launches, groups, needs_none=lambda of_cell: of_cell["variant"] == B.columns()["variant"])
        == launches
    )
    ended = [launches[0], B.columns() | {"number": 0, "status": "wrong"}, launches[1]]
    assert whole_groups(ended, groups) == ended


@pytest.fixture
def killed(tmp_path):
    """Returns the folder of a run that was killed between two of its launches."""
    with subprocess.Popen(
        command(*NULL), cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as parent:
        assert wait_for(lambda: len(launches_in(tmp_path)) >= 3)
        parent.send_signal(signal.SIGKILL)
    return latest_run(tmp_path / "runs")


def launches_in(folder):
    journals = list((folder / "runs").glob(f"*/{JOURNAL_NAME}"))
    return [line for line in journals[0].read_text().splitlines() if '"kind":"launch"' in line] if journals else []


def test_a_killed_run_goes_on_where_it_was(killed, tmp_path):
    before, whole = read_run(killed), (killed / JOURNAL_NAME).read_bytes()
    done = bench("--resume", str(killed), "--benchmark-json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_run(killed)
    assert (killed / JOURNAL_NAME).read_bytes().startswith(whole[: before.whole_bytes])
    assert after.launches[: len(before.launches)] == before.launches
    assert len(after.launches) == 8  # two of null, two of the control, twice each
    assert {row["status"] for row in after.rows} == {"ok"}
    assert after.end_reason == "the plan is done"
    assert read_csv(killed / "results.csv") == after.rows
    assert len(json.loads((tmp_path / "out.json").read_text())["benchmarks"]) == 4


def test_a_run_that_is_done_does_nothing_more(tmp_path):
    assert bench(*NULL, cwd=tmp_path).returncode == 0
    run = run_in(tmp_path / "runs")
    done = bench("--resume", str(run.path), cwd=tmp_path)
    assert done.returncode == 0
    again = read_run(run.path)
    assert (again.rows, again.launches) == (run.rows, run.launches)
    assert "per step" not in done.stdout.partition(" samestep ==")[0]


def test_a_torn_line_is_cut_off_before_the_run_goes_on(killed, tmp_path):
    journal = killed / JOURNAL_NAME
    before = read_run(killed)
    with journal.open("ab") as file:
        file.write(b'{"crc":"00000000","seq":99,"kind":"launch"')
    assert bench("--resume", str(killed), cwd=tmp_path).returncode == 0
    assert read_run(killed).launches[: len(before.launches)] == before.launches


def test_a_run_takes_no_other_choice_along(killed, tmp_path):
    done = bench("--resume", str(killed), "--backends", "torch_cpu", "--launches", "5", cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--resume takes what to run from the run itself; leave out --backends, --launches" in done.stderr


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_what_is_no_run_is_refused(tmp_path, place):
    done = bench("--resume", str(tmp_path / place), cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "give a run's folder or journal" in done.stderr


@pytest.mark.parametrize("name", ["software_id", "machine_id", "installation_id"])
def test_another_machine_or_software_is_refused(killed, monkeypatch, name):
    here = options.new_header()
    moved = here | {"machine": here["machine"] | {name: "somethingelse"}}
    monkeypatch.setattr(options, "new_header", lambda: moved)
    with pytest.raises(options.PlanError, match=rf"{name} was \w+ and is somethingelse.*start a new run"):
        options.interrupted_run({"--resume": str(killed)}.get)


def test_a_run_of_the_first_format_cannot_go_on():
    old = Path(__file__).parent / "runs" / "format-1"
    with pytest.raises(options.PlanError, match="whose runs cannot go on; start a new one"):
        options.interrupted_run({"--resume": str(old)}.get)


def test_kills_at_random_instants_lose_nothing_that_was_finished():
    assert kill.main(instants=6, seed=1) == 0
