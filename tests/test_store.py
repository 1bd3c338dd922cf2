"""A store: runs at any depth, packed once, a wrong one left out with its file and line, and the rest still there."""

from datetime import timedelta

import numpy as np
import pytest

from results.__main__ import main
from results.nights import nights as nights_module
from results.nights import store as store_module
from results.nights.nights import read_nights, rows_of_runs, series_rows
from results.nights.store import open_packed, pack, series_of
from results.record import vocabulary
from results.record.csvfile import read_csv
from results.record.files import ResultsError
from results.record.read import run_folders
from results.record.schema import COLUMNS
from results.tables.table import to_frame
from tests.fakes.runs import FIRST, run_id_of, write_run

duckdb = pytest.importorskip("duckdb")


def days(n):
    return [FIRST + timedelta(number) for number in range(n)]


@pytest.fixture
def store(tmp_path):
    for day in days(3):
        write_run(tmp_path / "from-alpha", "alpha", day, {"torch_cpu": 1e-3, "jax_cpu": 2e-3})
    write_run(tmp_path / "deep" / "er", "beta", FIRST, {"torch_cpu": None}, journal=True)
    return tmp_path


def test_runs_are_found_at_any_depth_and_once(store):
    write_run(store / "copy", "alpha", FIRST, {"torch_cpu": 1e-3})
    assert [folder.name for folder in run_folders(store)] == sorted(
        [*(run_id_of("alpha", day) for day in days(3)), run_id_of("beta", FIRST)]
    )
    with pytest.raises(ResultsError, match="no folder"):
        run_folders(store / "absent")


def test_packing_keeps_every_value_and_packs_a_run_once(store):
    before = to_frame([row for folder in (store / "from-alpha").iterdir() for row in read_csv(folder / "results.csv")])
    done = pack(store)
    assert (done.runs, done.rows, done.problems) == (4, 7, ())
    assert pack(store).rows == 0
    after = rows_of_runs(store, [run_id_of("alpha", day) for day in days(3)])
    order = ["run_id", "backend"]
    left, right = (frame.sort_values(order).reset_index(drop=True) for frame in (before, after))
    for column in COLUMNS:
        assert left[column.name].equals(right[column.name]), column.name
    write_run(store, "alpha", FIRST + timedelta(9), {"torch_cpu": 1e-3})
    assert pack(store).runs == 1


def test_a_series_has_the_same_name_packed_or_not(store):
    fresh = read_nights(store)
    pack(store)
    packed = read_nights(store)
    assert set(fresh.series.index) == set(packed.series.index)
    (row,) = [row for row in read_csv(run_folders(store)[0] / "results.csv") if row["backend"] == "jax_cpu"]
    assert series_of(row) in packed.series.index
    for metric in ("latency", "throughput"):
        names, x = fresh.matrix(metric)
        other_names, other = packed.matrix(metric)
        assert names == other_names
        np.testing.assert_array_equal(x, other)
    assert fresh.machines().astype(str).equals(packed.machines().astype(str))


HOSTILE = {
    "row_format": "2",
    "latency_p50_s": "nan",
    "latency_max_s": "-1",
    "throughput_samples_per_s": "many",
    "batch": "1e99",
    "status": "splendid",
    "run_id": "20260901T030000Z-other-0000",
    "phase": "",
    "workload": "<script>alert(1)</script>",
    "machine": "<b>x",
    "backend": "torch_cpu\u202e",
    "size": "=1+1",
    "latency_mean_s": "1e300",
    "latency_p99_s": "0.001",
    "flags": "x" * 40_000,
}
TWICE = [("latency_p50_s", "1e300"), ("latency_p50_s", "1e-320"), ("throughput_samples_per_s", "1e25")]


def test_the_rules_of_a_row_are_in_no_second_place():
    """What packing takes for a row is what any command does: it has no limit or word of its own."""
    limits = {name for name in vars(vocabulary) if name.isupper()}
    assert len(limits) > 10
    assert not limits & {*vars(store_module), *vars(nights_module)}


@pytest.mark.parametrize(("column", "value"), [*HOSTILE.items(), *TWICE])
def test_a_wrong_value_costs_its_run_and_names_file_and_line(store, column, value):
    path = write_run(store, "gamma", FIRST, {"torch_cpu": 1e-3, "jax_cpu": 1e-3}) / "results.csv"
    lines = path.read_text().splitlines()
    header, cells = lines[0].split(","), lines[2].split(",")
    cells[header.index(column)] = value
    path.write_text("\r\n".join([lines[0], lines[1], ",".join(cells), ""]))
    done = pack(store)
    assert (done.runs, done.rows) == (4, 7)
    (problem,) = done.problems
    assert str(path) in problem
    assert column == "run_id" or "line 3" in problem


@pytest.mark.parametrize("content", ["", "a,b\r\n1,2\r\n", "row_format,workload,phase,backend,status,newer\r\n"])
def test_an_empty_foreign_or_newer_file_is_left_out(store, content):
    path = write_run(store, "gamma", FIRST, {"torch_cpu": 1e-3}) / "results.csv"
    path.write_text(content)
    done = pack(store)
    assert done.rows == 7
    assert "line 1" in done.problems[0]


def test_text_that_a_row_changes_is_changed_in_a_store_too(store):
    path = write_run(store, "gamma", FIRST, {"torch_cpu": None}) / "results.csv"
    path.write_bytes(path.read_bytes().replace(b"disturbed", "dis\u202eturbed\x1b".encode()))
    assert pack(store).problems == ()
    assert rows_of_runs(store, [path.parent.name])["reason"].tolist() == ["disturbed"]


def test_a_truncated_file_and_a_row_that_is_there_twice(store):
    path = write_run(store, "gamma", FIRST, {"torch_cpu": 1e-3, "jax_cpu": 1e-3}) / "results.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert "line 3" in pack(store).problems[0]
    path.write_bytes(whole + whole.splitlines(keepends=True)[1])
    assert pack(store).problems


def test_a_killed_runs_journal_is_read_and_a_broken_one_is_left_out(store):
    folder = store / "deep" / "er" / run_id_of("beta", FIRST)
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"disturbed", b"undisturbed", 1))
    done = pack(store)
    assert (done.runs, done.rows) == (3, 6)
    assert f"{journal}, line" in done.problems[0]


def test_the_rows_of_one_series(store):
    pack(store)
    write_run(store, "alpha", FIRST + timedelta(5), {"torch_cpu": 3e-3})
    nights = read_nights(store)
    (name,) = nights.series.index[(nights.series["backend"] == "torch_cpu") & (nights.series["machine"] == "alpha")]
    rows = series_rows(store, name)
    assert rows["latency_p50_s"].tolist() == [1e-3, 1e-3, 1e-3, 3e-3]
    with pytest.raises(ResultsError, match="no series"):
        series_rows(store, "0" * 16)


def test_an_empty_store_says_what_was_expected(tmp_path):
    with pytest.raises(ResultsError, match="holds no run"):
        read_nights(tmp_path)
    assert open_packed(tmp_path) == (None, ())


def test_an_address_is_a_folder_of_packed_files(store):
    pack(store)
    by_address = read_nights(f"file://{store}/packed/")
    assert by_address.machines().equals(read_nights(store).machines())
    with pytest.raises(ResultsError, match=r"cannot read what is packed: .*absent.*`pack` again"):
        read_nights(f"file://{store}/absent")


@pytest.mark.parametrize("kind", ["truncated", "empty", "foreign", "other types"])
def test_a_wrong_packed_file_is_left_out_and_its_runs_are_read_as_they_lie(store, kind):
    whole = read_nights(store)
    pack(store)
    (packed,) = (store / "packed").iterdir()
    if kind in ("truncated", "empty"):
        packed.write_bytes(packed.read_bytes()[: 2_000 if kind == "truncated" else 0])
    else:
        columns = "1 AS series" if kind == "foreign" else f"* REPLACE (1 AS flags) FROM read_parquet('{packed}')"
        duckdb.sql(f"COPY (SELECT {columns}) TO '{store}/packed/other.parquet' (FORMAT parquet)")
        (store / "packed" / "other.parquet").replace(packed)
    found = read_nights(store)
    assert len(found.problems) == 1 and found.problems[0].startswith(f"left out: {packed}: ")
    assert found.machines().astype(str).equals(whole.machines().astype(str))
    assert len(rows_of_runs(store, [run_id_of("alpha", FIRST)])) == 2
    done = pack(store)
    assert done.problems == found.problems
    assert (done.runs, len((*(store / "packed").iterdir(),))) == (4, 1)


def test_the_command(store, capsys):
    assert main(["pack", str(store)]) == 0
    assert "7 rows of 4 runs" in capsys.readouterr().out
    assert main(["pack", str(store / "absent")]) == 2
