"""The one list of dimensions: what was written before one was added reads as ever, and what follows from it agrees."""

import shutil
from pathlib import Path

import pytest

from results.nights.nights import read_nights, rows_of_runs
from results.nights.store import pack, series_of, series_sql
from results.record.csvfile import read_csv
from results.record.dimensions import DIMENSIONS, Dimension
from results.record.read import read_rows, run_folders
from results.record.row import cell_of
from results.record.run import read_run
from results.record.schema import COLUMN, COLUMNS
from results.tables.export import name_of
from results.tables.pairs import pairs_of
from results.tables.table import to_frame
from tests.fakes.rows import row_of

duckdb = pytest.importorskip("duckdb")

OLD = Path(__file__).parent / "runs" / "ten-dimensions"
"""Two runs and their packed store, written when there were ten dimensions: an A/B, and models with a control."""
AB, MODELS = "20261129T122934Z-vm-4798", "20261129T122944Z-vm-50b2"

SERIES = {
    "mlp/tiny/infer/b4/fp32/t1/torch_cpu/B:-threads=1": "8b5328672e879c58",
    "mlp/tiny/infer/b4/fp32/t2/torch_cpu/A:-base": "d679d88024237492",
    "control_copy/tiny/infer/b4/fp32/t2/numpy_cpu": "8b86aa4e6c415289",
    "gpt2/tiny/train/b2/s16/fp32/t2/null": "91d10e3ade03cc18",
    "control_matmul/tiny/infer/b4/fp32/t2/numpy_cpu": "5cb9817d593ea0d7",
    "gpt2/tiny/infer/b2/s16/fp32/t2/null": "446432c84eb1ac03",
    "gpt2/tiny/train/b2/s16/fp32/t2/torch_cpu": "9b0ea47ec2ef2845",
    "gpt2/tiny/infer/b2/s16/fp32/t2/torch_cpu": "8b34759645ab1272",
}
"""By the name under which it is exported, the id of each row's series, as both were when the runs were written."""


@pytest.fixture
def store(tmp_path):
    """The runs without what is packed, to write into."""
    for run in (AB, MODELS):
        shutil.copytree(OLD / run, tmp_path / run)
    return tmp_path


def ids_of(rows):
    return {name_of(row): series_of(row) for row in rows}


def test_series_and_names_of_old_journals_and_csvs_are_as_they_were(store):
    assert ids_of(read_rows(store)[0]) == SERIES
    assert ids_of(row for run in (AB, MODELS) for row in read_csv(OLD / run / "results.csv")) == SERIES
    assert [folder.name for folder in run_folders(OLD)] == [AB, MODELS]


def test_an_old_packed_store_is_read_and_has_the_series_that_it_had(tmp_path):
    shutil.copytree(OLD / "packed", tmp_path / "packed")
    nights = read_nights(tmp_path)
    assert nights.problems == ()
    assert set(nights.rows["series"].astype(str)) == set(SERIES.values())
    rows = rows_of_runs(tmp_path, [AB, MODELS])
    assert list(rows.columns) == [column.name for column in COLUMNS]
    assert {name_of(row) for row in rows.astype(object).where(rows.notna(), None).to_dict("records")} == set(SERIES)


def test_runs_packed_now_have_the_series_of_those_packed_then(store):
    assert pack(store).problems == ()
    (now,) = (store / "packed").iterdir()
    now.rename(store / "packed" / "now.parquet")
    shutil.copytree(OLD / "packed", store / "packed", dirs_exist_ok=True)
    nights = read_nights(store)
    assert nights.problems == ()
    assert set(nights.rows["series"].astype(str)) == set(SERIES.values())
    assert len(nights.rows) == 2 * len(SERIES)


def test_an_old_run_has_its_pairs_launches_and_cells():
    run = read_run(OLD / AB)
    assert {cell_of(launch) for launch in run.launches} == {cell_of(row) for row in run.rows}
    assert [(one.a, one.b) for one in pairs_of(run)] == [("A: base", "B: threads=1")]


def test_a_dimension_without_a_default_cannot_be_added():
    with pytest.raises(ValueError, match="depth has no default; expected one"):
        Dimension("depth", "integer", "How deep.", required=True)


def test_every_dimension_is_a_column_of_its_kind():
    assert [COLUMN[d.name].kind for d in DIMENSIONS] == [d.kind for d in DIMENSIONS]
    assert all(d.column in COLUMN for d in DIMENSIONS)
    assert len({d.cell_field for d in DIMENSIONS}) == len({d.name for d in DIMENSIONS}) == len(DIMENSIONS)


NAMES = {
    "mlp/tiny/infer/b4/fp32/t2/torch_cpu:1": ({"device_index": 1}, "3bff2d2e466fff9d"),
    "mlp/tiny/infer/b4/s128/fp32/t2/torch_cpu": ({"sequence": 128}, "6a900c746d664185"),
    "mlp/tiny/infer/b4/bf16/t2/torch_cpu": ({"precision_requested": "bf16"}, "24de7afd46b474a9"),
    "mlp/infer/fp32/t2/torch_cpu": ({"batch": None, "size": None}, "8c7e4d7578bce21c"),
    "mlp/tiny/infer/b4/fp32/t2/torch_cpu": ({"device_index": None}, "e1095106edb77c13"),
    "mlp/tiny/infer/b4/fp32/t2/torch_cpu/B:-threads=1-x=-": ({"variant": "B: threads=1, x=ü"}, "b3b94c251fd3ca83"),
}
"""Rows that no run of `OLD` has, with what they were called then."""


@pytest.mark.parametrize("name", NAMES)
def test_what_no_old_run_has_keeps_its_name_and_series_too(name):
    changes, series = NAMES[name]
    row = row_of(**changes)
    assert (name_of(row), series_of(row)) == (name, series)


def test_python_and_sql_name_a_series_alike():
    frame = to_frame([row_of(**changes) for changes, _ in NAMES.values()])  # noqa: F841 - DuckDB finds it by its name
    found = duckdb.sql(f"SELECT {series_sql()} AS series FROM frame").fetchdf()["series"].tolist()
    assert found == [series for _, series in NAMES.values()]
