"""What bounds the chip is measured once a day: by which run, of which machine and settings, and what its rows say."""

import pytest

from bench.cell import Cell
from bench.effort import METHOD_VERSION
from bench.parent.limits import of_today
from bench.parent.plans.plan import default_cell
from results.record.journal import JOURNAL_NAME, Journal
from tests.fakes.rows import HEADER, row_of

STARTED = "2026-11-23T13:00:00+00:00"
COMMON = {
    "machine_id": "0123456789ab",
    "installation_id": None,
    "software_id": "s1",
    "samestep_version": "0.1.0",
    "preset": "quick",
    "started_utc": STARTED,
}
CELL = default_cell("matmul", "tiny", "infer", "torch_cpu", 2)
OTHER = default_cell("stream", "tiny", "infer", "jax_cpu", 2)


def run_id(number):
    return f"20261122T1300{number:02d}Z-machine-{number:04x}"


def write(store, *cells, number=1, started="2026-11-23T12:00:00+00:00", status="ok", **changes):
    """Writes a run that measured these cells: in 1 ms times its number."""
    header = {**HEADER, "started_utc": started}
    known = {name: value for name, value in COMMON.items() if name != "started_utc"}
    known |= {"run_id": run_id(number), "started_utc": started, "method_version": str(METHOD_VERSION)}
    if status == "ok":
        known |= {"latency_p50_s": number * 1e-3, "mfu": 0.5}
    with Journal.create(store, run_id(number), header) as journal:
        journal.plan([cell.columns() for cell in cells])
        for cell in cells:
            journal.row(row_of(status, **{**known, **cell.columns(), **changes}))
        journal.end("the plan is done")


def test_a_limit_of_today_is_taken_with_the_run_that_measured_it(tmp_path):
    write(tmp_path, CELL, OTHER)
    found = of_today([CELL, OTHER], tmp_path, COMMON)
    assert set(found) == {CELL, OTHER}
    assert (found[CELL]["latency_p50_s"], found[CELL]["measured_in"]) == (1e-3, run_id(1))
    assert "mfu" not in found[CELL]  # what follows from other rows is reckoned anew


def test_the_newest_is_taken_and_who_measured_it_stays_known(tmp_path):
    write(tmp_path, CELL)
    write(tmp_path, CELL, number=2)
    write(tmp_path, CELL, number=3, status="broken", reason_code="step_failed")
    assert of_today([CELL], tmp_path, COMMON)[CELL]["latency_p50_s"] == 2e-3
    write(tmp_path, CELL, number=4, measured_in=run_id(2))
    assert of_today([CELL], tmp_path, COMMON)[CELL]["measured_in"] == run_id(2)


@pytest.mark.parametrize(
    ("started", "is_fresh"),
    [
        ("2026-11-22T13:00:00+00:00", True),
        ("2026-11-22T12:59:59+00:00", False),
        (STARTED, True),
        ("2026-11-23T13:00:01+00:00", False),
    ],
)
def test_it_is_of_the_last_24_hours_and_not_of_a_wrong_clock(tmp_path, started, is_fresh):
    write(tmp_path, CELL, started=started)
    assert bool(of_today([CELL], tmp_path, COMMON)) is is_fresh


@pytest.mark.parametrize("name", ["machine_id", "installation_id", "software_id", "samestep_version", "preset"])
def test_another_machine_software_or_preset_is_measured_anew(tmp_path, name):
    write(tmp_path, CELL, **{name: "fedcba987654"})
    assert of_today([CELL], tmp_path, COMMON) == {}


def test_what_was_measured_by_another_method_is_measured_anew(tmp_path):
    write(tmp_path, CELL, method_version=str(METHOD_VERSION - 1))
    assert of_today([CELL], tmp_path, COMMON) == {}


@pytest.mark.parametrize("changes", [{"threads": 1}, {"batch": 7}, {"backend": "jax_cpu"}, {"device_index": 1}])
def test_another_cell_is_measured(tmp_path, changes):
    write(tmp_path, CELL)
    assert of_today([Cell(**{**CELL.__dict__, **changes})], tmp_path, COMMON) == {}


def test_models_are_never_taken(tmp_path):
    model = default_cell("mlp", "tiny", "infer", "torch_cpu", 2)
    write(tmp_path, model)
    assert of_today([model], tmp_path, COMMON) == {}


def test_no_folder_and_no_readable_run_is_nothing(tmp_path):
    assert of_today([CELL], tmp_path / "nowhere", COMMON) == {}
    (tmp_path / run_id(1)).mkdir()
    (tmp_path / run_id(1) / JOURNAL_NAME).write_text("torn")
    assert of_today([CELL], tmp_path, COMMON) == {}
