"""The one list of dimensions: what was written before one was added reads as ever, and what follows from it agrees."""

import ast
import shutil
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cell import Cell
from bench.parent.plans.variant import side_of
from results.nights import store as store_module
from results.nights.nights import read_nights, rows_of_runs
from results.nights.store import pack, series_of, series_sql
from results.record.csvfile import read_csv
from results.record.dimensions import DIMENSIONS, Dimension
from results.record.read import read_rows, run_folders
from results.record.row import cell_of, make_row
from results.record.run import read_run
from results.record.schema import COLUMN, COLUMNS
from results.record.vocabulary import STAGES
from results.tables.export import name_of
from results.tables.pairs import pairs_of
from results.tables.table import to_frame
from tests.fakes.rows import row_of

duckdb = pytest.importorskip("duckdb")

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("backends", "bench", "host", "results", "samestep", "workloads")
OLD = ROOT / "tests" / "runs" / "ten-dimensions"
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


LATER = (
    Dimension("latency_n", "integer", "Stands for a later dimension with a default.", default=3),
    Dimension("reason", "text", "Stands for one without.", mark="r"),
    Dimension("stage", "text", "Stands for one with a default.", default="measure"),
)
texts = st.text(min_size=1, max_size=20)
counts = st.integers(0, 2**63 - 1)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "variant": texts,
        "batch": counts,
        "sequence": counts,
        "device_index": st.none() | counts,
        "workload_digest": texts,
        "reason": texts,
        "latency_n": st.sampled_from([0, 3, 4]) | counts,
        "stage": st.sampled_from(STAGES),
    },
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, min_size=1, max_size=10))
def test_python_and_sql_name_any_series_alike(monkeypatch, changes):
    monkeypatch.setattr(store_module, "IN_SERIES_BY_NAME", LATER)
    rows = [row_of(**one) for one in changes]
    frame = to_frame(rows)
    found = duckdb.sql(f"SELECT {series_sql()} AS series FROM frame").fetchdf()["series"].tolist()
    assert len(frame) == len(found)
    assert found == [series_of(row) for row in rows]


def test_python_and_sql_name_a_series_alike():
    frame = to_frame([row_of(**changes) for changes, _ in NAMES.values()])  # noqa: F841 - DuckDB finds it by its name
    found = duckdb.sql(f"SELECT {series_sql()} AS series FROM frame").fetchdf()["series"].tolist()
    assert found == [series for _, series in NAMES.values()]


CELLS = {
    "gpt2-b2-s128-fp32-torch_cuda": Cell("gpt2", "124m", "train", "torch_cuda", 2, 128, "fp32", 8),
    "mlp-b4-fp32-null": Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1),
    "mlp-b4-fp32-null-B": Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1, variant=side_of("B", "threads=1")),
    "mlp-b4-fp32-jax_cuda:1": Cell("mlp", "tiny", "infer", "jax_cuda", 4, None, "fp32", 1, device_index=1),
}
"""By its test id, which people have saved: a second device alone had none of its own."""


@pytest.mark.parametrize("name", CELLS)
def test_test_ids_are_as_they_were(name):
    assert CELLS[name].id == name


def test_a_cell_has_a_field_per_dimension_those_without_a_default_first():
    paths = ["weights_path", "weights_sha256", "model_path", "model_failure"]
    order = ["workload", "size", "phase", "backend", "batch", "sequence", "precision", "threads"]
    assert [field.name for field in fields(Cell)][: len(order)] == order
    assert {field.name for field in fields(Cell)} == {*paths, *(d.cell_field for d in DIMENSIONS)}


def test_what_the_checker_of_types_is_told_of_a_cell_is_in_the_list():
    (point,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "bench" / "cell.py").read_text()))
        if isinstance(node, ast.ClassDef) and node.name == "_Point"
    ]
    told = {node.target.id: node.value for node in point.body if isinstance(node, ast.AnnAssign)}
    in_list = {field.name: field.default for field in fields(Cell)}
    assert list(told) == [name for name in in_list if name in told]
    for name, value in told.items():
        default = MISSING if value is None else ast.literal_eval(value)
        assert in_list[name] == default, name


def test_columns_of_a_cell_are_those_of_its_row():
    side = side_of("A", "threads=1, x=y")
    cell = Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1, variant=side)
    row = make_row(**cell.columns(), status="not_run", reason="planned")
    assert cell_of(row) == (
        *("mlp", "tiny", "infer", "null", 0, "fp32", 4, None, 1, "A: threads=1, x=y"),
        *(None,) * 5,
    )
    assert (cell.variant.letter, cell.overrides.options, cell.overrides.threads) == ("A", {"x": "y"}, 1)


def test_the_two_sides_of_an_ab_are_a_group_and_nothing_else_is():
    plain = Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1)
    sides = [replace(plain, variant=side_of(letter, "base"), threads=n) for letter, n in (("A", 1), ("B", 2))]
    assert sides[0].group == sides[1].group != plain.group
    assert len({*sides, plain}) == 3
    assert replace(sides[0], device_index=1).group != sides[0].group
    assert replace(sides[0], backend="numpy_cpu").group != sides[0].group


def test_backends_and_devices_of_one_step_are_a_group():
    plain = Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1)
    assert replace(plain, backend="numpy_cpu", device_index=1, precision="bf16").group == plain.group
    others = {"workload": "gpt2", "size": "base", "phase": "train", "batch": 8, "sequence": 16}
    for changed in ({name: value} for name, value in (others | {"threads": 2, "weights_path": "w"}).items()):
        assert replace(plain, **changed).group != plain.group


def lists_of_dimensions(path):
    """Returns where in a file a tuple, list or set is of three and more names of dimensions, and little else."""
    names = {name for d in DIMENSIONS for name in (d.name, d.cell_field)}
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Tuple, ast.List, ast.Set))
        and (n := len({one.value for one in node.elts if isinstance(one, ast.Constant)} & names)) >= 3
        and n > len(node.elts) / 2
    ]


def test_the_dimensions_are_listed_once():
    """What a table of one thing shows may be chosen by name; what identifies, places or matches a cell may not."""
    files = [ROOT / "conftest.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    places = {place.partition(":")[0] for path in files for place in lists_of_dimensions(path)}
    # Options of a command line, and the titles of a table.
    assert places <= {"results/cli/cost.py", "results/show/pairs.py"}


def test_a_cell_is_named_by_what_tells_it_from_its_group():
    plain = Cell("mlp", "tiny", "infer", "torch_cpu", 4, None, "fp32", 1)
    assert plain.name == "torch_cpu"
    assert replace(plain, precision="bf16", device_index=1).name == "torch_cpu:1 bf16"
