"""`--batch max`: which batches are planned, which are tried, and where a backend's ladder ends."""

from dataclasses import replace

import pytest

import backends
import bench
from backends.base import Probe
from bench.cell import Cell
from bench.parent.groups import Order, groups_of
from bench.parent.plans import climb, ladder, plan
from bench.parent.plans.climb import Climb, why_skipped
from bench.parent.plans.parse import PlanError
from bench.parent.record import Launch
from bench.parent.session import BenchSession
from results.record.journal import Journal
from tests.fakes.bench import EFFORT
from tests.fakes.rows import HEADER, RUN_ID

CPUS = ("torch_cpu", "onnxruntime_cpu")
ACCELERATORS = ("torch_cuda", "jax_cuda")


def planned(known=CPUS, **options):
    """Returns the selection of these options, and its cells."""
    given = {"--preset": "smoke", "--workloads": "mlp", "--phases": "infer", "--backends": ",".join(known)}
    given |= {f"--{name}": value for name, value in options.items()}
    selection = bench.select(given.get)
    return selection, plan.planned(selection, known)


def batches(cells, backend):
    return [cell.batch for cell in cells if cell.backend == backend]


@pytest.fixture
def _accelerators(monkeypatch):
    """Has the adapters of one accelerator find it."""
    real = backends.probe
    usable = {backends.get(name) for name in ACCELERATORS}
    monkeypatch.setattr(
        ladder, "probed", lambda adapter: Probe("usable", "a device") if adapter in usable else real(adapter)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max:16", [4, 8, 16]),
        ("max:20", [4, 8, 16]),
        ("max", [4, 8, 16, 32, 64]),
        ("1,max:8", [1, 2, 4, 8]),
        (" 2 , max:8 , 3 ", [2, 3, 6]),
        ("1,8", [1, 8]),
    ],
)
def test_a_ladder_doubles_the_largest_batch_given_else_the_workloads_own(text, expected):
    _, cells = planned(batch=text)
    for backend in CPUS:
        assert batches(cells, backend) == expected
    assert batches(cells, "null") == [expected[0]]
    assert {cell.batch for cell in cells if cell.workload.startswith("control_")} == {4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": "max,max"}, "--batch takes max once, got max, max"),
        ({"batch": "max:0"}, "--batch max:N takes the largest batch, from 1 to 1048576; got '0'"),
        ({"batch": "max:many"}, "got 'many'"),
        ({"batch": "max:"}, "got ''"),
        ({"batch": "max:9999999"}, "got '9999999'"),
        ({"batch": "8,max:8"}, "no batch lies between 8 and 8 to double to"),
        ({"batch": "maximum"}, "--batch takes whole numbers"),
        ({"batch": "max", "ab": ("base", "threads=1")}, "give numbers in place of max"),
        ({"batch": "max", "workloads": "matmul", "phases": None}, "--batch max is for models"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(options, message):
    with pytest.raises(PlanError, match=message) as raised:
        planned(**options)
    assert "\n" not in str(raised.value)


def test_what_has_one_size_and_what_cannot_start_here_climbs_nothing():
    _, cells = planned(known=("torch_cpu", "torch_cuda"), batch="max", workloads="mlp,matmul,stream", phases=None)
    of_limits = [cell for cell in cells if cell.workload in ("matmul", "stream")]
    assert of_limits
    assert len({(cell.workload, cell.batch) for cell in of_limits}) == 2
    assert set(batches([cell for cell in cells if cell.workload == "mlp"], "torch_cuda")) == {4}
    selection, cells = planned(
        known=("torch_cpu",), batch="max:128", workloads="gpt2", phases="decode,generate,prefill"
    )
    assert {cell.phase for cell in ladder.rungs_of(selection, cells)} == {"prefill", "decode"}


def test_accelerators_climb_by_themselves_and_cpus_do_not(_accelerators):
    known = (*CPUS, *ACCELERATORS)
    _, cells = planned(known, preset="quick")
    assert [set(batches(cells, name)) for name in CPUS] == [{64}, {64}]
    for name in ACCELERATORS:
        assert batches(cells, name) == [64 << n for n in range(ladder.DOUBLINGS + 1)]
    for given in ({"preset": "smoke"}, {"preset": "quick", "batch": "64"}):
        assert batches(planned(known, **given)[1], ACCELERATORS[0]) == [64 if "batch" in given else 4]


def test_the_shapes_of_a_preset_are_on_the_ladder_once(_accelerators):
    selection, cells = planned(ACCELERATORS, preset="full")
    found = batches(cells, ACCELERATORS[0])
    assert len(found) == len(set(found))
    rungs = ladder.rungs_of(selection, cells)
    assert min(found) not in {cell.batch for cell in rungs}
    assert all([one.batch for one in rungs[cell]] == sorted(b for b in found if b < cell.batch) for cell in rungs)


def row(batch, rate=None, status="ok", **more):
    return {"batch": batch, "status": status, "throughput_samples_per_s": rate} | more


@pytest.mark.parametrize(
    ("smaller", "expected"),
    [
        ([row(4, 100.0)], None),
        ([row(4, 100.0), row(8, 105.0)], None),
        ([row(4, 100.0), row(8, 104.9)], ("saturated", "batch 8 gained 4.9 % over 4, under 5 %")),
        ([row(4, 100.0), row(8, 50.0)], ("saturated", "batch 8 gained -50.0 % over 4, under 5 %")),
        # A number that may be off by more says nothing yet.
        ([row(4, 100.0), row(8, 104.0, throughput_ci_high_samples_per_s=110.0)], None),
        ([row(4, 100.0, throughput_ci_low_samples_per_s=90.0), row(8, 95.0)], None),
        (
            [
                row(4, 100.0, throughput_ci_low_samples_per_s=99.5),
                row(8, 103.0, throughput_ci_high_samples_per_s=104.0),
            ],
            ("saturated", "batch 8 gained 3.0 % over 4, under 5 %"),
        ),
        ([row(4, 100.0), {}, row(16, 104.0)], ("saturated", "batch 16 gained 4.0 % over 4, under 5 %")),
        ([row(4, 100.0), row(8, None, "disturbed")], None),
        ([row(4, 100.0), row(8, None, "wrong")], ("smaller_failed", "no larger batch is tried: 8 is wrong")),
        ([row(4, None, "out_of_memory")], ("smaller_failed", "no larger batch is tried: 4 is out_of_memory")),
        ([], None),
        ([{}], None),
    ],
)
def test_a_batch_is_tried_while_the_last_one_gained(smaller, expected):
    why = why_skipped(32, smaller, None)
    assert (why and (why["reason_code"], why["reason"])) == expected


def test_what_would_not_fit_is_not_tried():
    held = [row(4, 1.0, peak_memory_bytes=2 << 30), row(8, 2.0, peak_memory_bytes=3 << 30)]
    # A line through the two says 5 GiB at 16, and the reference takes twice that.
    assert why_skipped(16, held, 10 << 30) is None
    why = why_skipped(16, held, (10 << 30) - 1)
    assert why["reason_code"] == "memory"
    assert why["reason"] == "batch 16 and its float64 reference are likely to hold 10.7 GB, and 10.7 GB are left"
    assert why_skipped(16, held[:1], 1) is None  # one point is no line


class FakeSuite:
    """Launches nothing: what a cell gives at its batch is as `gives` says."""

    effort, longest_stage_s = EFFORT, None

    def __init__(self, **gives):
        self.gives, self.asked, self.prepared = gives, [], []

    def prepare(self, cells):
        self.prepared += cells

    def can_start(self, cell):
        return True

    def ready(self, cell):
        self.asked.append(cell)
        given = self.gives[cell.backend][cell.batch]
        columns = cell.columns() | {"status": "ok", "stage": "close", "launch_s": 1.0}
        if isinstance(given, str) and given != "disturbed":
            return Launch(columns | {"status": given, "stage": "verify", "reason": "planned"})
        rate = 100.0 if given == "disturbed" else given
        numbers = {"verification": "passed", "latency_p50_s": cell.batch / rate, "throughput_samples_per_s": rate}
        numbers |= {"samples_per_step": cell.batch, "flops_per_s": 0.0, "throughput_flops_per_s": 0.0}
        numbers |= {"throughput_bytes_per_s": 0.0, "flops_per_step": 0, "minimum_bytes_per_step": 0}
        numbers |= {"rounds_latency_s": "0:1", "rounds_samples_per_s": "0:4"}
        numbers |= {"device_other_processes": int(given == "disturbed")}
        if given == "disturbed":  # once
            self.gives[cell.backend][cell.batch] = 180.0
        return Launch(columns | numbers, {"samples_s": (1.0,)})


RUNGS = (4, 8, 16, 32, 64)


def cell(backend, batch):
    return Cell("mlp", "tiny", "infer", backend, batch, None, "fp32", 1)


@pytest.fixture
def measured(tmp_path):
    """Returns the rows of a session over `RUNGS`, by backend and batch, and the session."""

    def measure(suite, names, launches=1, **more):
        cells = [cell(name, batch) for name in names for batch in RUNGS]
        rungs = {
            cell(name, batch): tuple(cell(name, b) for b in RUNGS if b < batch) for name in names for batch in RUNGS[1:]
        }
        with Journal.create(tmp_path, RUN_ID, HEADER) as journal:
            journal.plan([{"run_id": RUN_ID} | one.columns() for one in cells])
            session = BenchSession(
                journal=journal,
                suite=suite,
                order=Order(launches, "seed", rungs),
                groups=groups_of(cells),
                common={"run_id": RUN_ID},
                say=lambda text: None,
                climb=Climb(rungs, **more),
            )
            list(session.early_rounds())
            rows = {(one.backend, one.batch): session.run(one).columns for one in cells}
        return rows, session

    return measure


@pytest.mark.parametrize("launches", [1, 3])
def test_each_backend_climbs_by_itself(measured, launches):
    suite = FakeSuite(
        torch_cuda={4: 100.0, 8: 190.0, 16: 195.0},
        jax_cuda={4: 50.0, 8: 100.0, 16: 200.0, 32: 390.0, 64: 600.0},
        torch_cpu={4: 10.0, 8: 9.0},
    )
    rows, session = measured(suite, tuple(suite.gives), launches)
    statuses = {name: [rows[name, batch]["status"] for batch in RUNGS] for name in suite.gives}
    assert statuses == {
        "torch_cuda": ["ok"] * 3 + ["not_needed"] * 2,
        "jax_cuda": ["ok"] * 5,
        "torch_cpu": ["ok"] * 2 + ["not_needed"] * 3,
    }
    reasons = {rows["torch_cuda", batch]["reason"] for batch in (32, 64)}
    assert reasons == {"batch 16 gained 2.6 % over 8, under 5 %"}
    # What no backend reaches is not made, and nothing is launched more often than asked.
    assert {one.batch for one in suite.prepared if one.backend == "torch_cpu"} == {4, 8}
    assert len(suite.asked) == launches * 10
    assert session.failed == []


def test_memory_that_ends_is_no_failure_and_a_wrong_batch_is_one(measured):
    suite = FakeSuite(torch_cuda={4: 100.0, 8: 190.0, 16: "out_of_memory"}, jax_cuda={4: 50.0, 8: 100.0, 16: "wrong"})
    rows, session = measured(suite, tuple(suite.gives))
    for name, status in (("torch_cuda", "out_of_memory"), ("jax_cuda", "wrong")):
        assert [rows[name, batch]["status"] for batch in RUNGS] == ["ok", "ok", status, "not_needed", "not_needed"]
        assert rows[name, 64]["reason"] == f"no larger batch is tried: 16 is {status}"
    assert [failed["cell"] for failed in session.failed] == ["mlp-b16-fp32-jax_cuda"]
    assert not session.fails(cell("torch_cuda", 16), "out_of_memory")
    assert session.fails(cell("torch_cuda", 4), "out_of_memory")
    assert session.fails(cell("jax_cuda", 16), "wrong")


def test_a_batch_that_was_disturbed_ends_nothing(measured):
    suite = FakeSuite(torch_cuda={4: 100.0, 8: "disturbed", 16: 300.0, 32: 301.0})
    rows, _ = measured(suite, ("torch_cuda",))
    assert [rows["torch_cuda", batch]["status"] for batch in RUNGS] == ["ok"] * 4 + ["not_needed"]
    assert rows["torch_cuda", 8]["throughput_samples_per_s"] == 180.0


def test_nothing_larger_is_tried_where_nothing_is_timed_or_a_reference_takes_minutes(measured, monkeypatch):
    rows, _ = measured(FakeSuite(torch_cuda={4: 100.0}), ("torch_cuda",), is_timed=False)
    assert {rows["torch_cuda", batch]["reason"] for batch in RUNGS[1:]} == {climb.NOTHING_TIMED["reason"]}
    first, second = cell("torch_cuda", 4), cell("torch_cuda", 8)
    climbing = Climb({second: (first,)}, made_s={first: climb.LONGEST_REFERENCE_S / 2 + 1})
    ((found, columns),) = climbing.left_out([first, second], {first: row(4, 100.0)}, {})
    assert (found, columns["reason_code"]) == (second, "budget")
    assert columns["reason"] == "the reference of batch 8 is likely to take 5 min to make, over 5"


def test_a_users_model_climbs_where_it_is_asked_to():
    from bench.parent.own.made import Made

    selection, _ = planned(("torch_cpu", "openvino_cpu"), batch="max:8")
    models = (Made("mine", 2, "a"), *(Made("mine", batch, str(batch), is_rung=True) for batch in (4, 8, 16)))
    selection = replace(selection, models=models)
    cells = [replace(cell("torch_cpu", one.batch), workload="mine", model_path=one.path) for one in models]
    assert [one.batch for one in ladder.of_models(selection, cells)] == [2, 4, 8]
    assert [one.batch for one in ladder.of_models(replace(selection, ladder=None), cells)] == [2]
    assert list(ladder.rungs_of(selection, cells)) == cells[1:]


def test_a_shape_that_the_model_refuses_is_refused_as_ever():
    with pytest.raises(PlanError, match=r"^mlp: "):
        planned(batch="3,max", phases="train", accumulate="2")
