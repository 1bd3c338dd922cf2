"""What `tests/test_new_dimension.py` asks of a scratch copy of the tree to whose list a dimension was added.

Its arguments are the dimension's name, a value of it as JSON, and how that value stands in a name.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from bench.cell import Cell
from bench.parent.cache import Cache
from bench.parent.suite import Suite, non_defaults
from results.nights.nights import read_nights, rows_of_runs
from results.nights.store import pack, series_of, series_sql
from results.record.csvfile import read_csv, write_csv
from results.record.dimensions import DIMENSIONS, MATCHED, POSITION
from results.record.journal import Journal
from results.record.read import read_rows
from results.record.row import cell_of
from results.record.run import read_run
from results.show.columns import GROUPS, columns_of, page
from results.show.render import render
from results.tables.compare import compare
from results.tables.export import name_of
from results.tables.pytest_json import export_pytest
from results.tables.table import placed, to_frame
from tests.fakes.bench import EFFORT
from tests.fakes.rows import CELL, HEADER, RUN_ID, row_of
from tests.test_dimensions import AB, MODELS, NAMES, OLD, SERIES

NAME, VALUE, MARKED = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
(ADDED,) = [dimension for dimension in DIMENSIONS if dimension.name == NAME]


def plain(column: pd.Series) -> list[object]:
    """Returns the values as Python's own, None where there is none."""
    return column.astype(object).where(column.notna(), None).tolist()


def old_files_read_as_ever(folder: Path) -> None:
    for path in (OLD / AB, OLD / MODELS, OLD / AB / "results.csv", OLD / MODELS / "results.csv"):
        for row in read_rows(path)[0]:
            assert row[NAME] == ADDED.default
            assert series_of(row) == SERIES[name_of(row)]
    for name, (changes, series) in NAMES.items():
        assert (name_of(row_of(**changes)), series_of(row_of(**changes))) == (name, series)
    run = read_run(OLD / AB)
    assert {cell_of(launch) for launch in run.launches} == {cell_of(row) for row in run.rows}
    shutil.copytree(OLD / "packed", folder / "packed")
    assert set(read_nights(folder).rows["series"].astype(str)) == set(SERIES.values())
    assert set(plain(rows_of_runs(folder, [AB, MODELS])[NAME])) == {ADDED.default}
    (folder / RUN_ID).mkdir()
    write_csv([row_of(**{NAME: VALUE}), row_of()], folder / RUN_ID / "results.csv")
    assert pack(folder).problems == ()
    nights = read_nights(folder)
    assert nights.problems == ()
    assert set(nights.rows["series"].astype(str)) == {
        *SERIES.values(),
        series_of(row_of()),
        series_of(row_of(**{NAME: VALUE})),
    }
    of_both = plain(rows_of_runs(folder, [RUN_ID, AB])[NAME])
    assert (of_both.count(ADDED.default), of_both.count(VALUE)) == (3, 1)


def a_cell_takes_it(folder: Path) -> None:
    usual = Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1)
    cell = Cell("mlp", "tiny", "infer", "null", 4, None, "fp32", 1, **{NAME: VALUE})
    assert (usual.id, cell.id) == ("mlp-b4-fp32-null", f"mlp-b4-fp32-{MARKED}-null")
    assert str(VALUE) in cell.title
    assert cell != usual
    assert cell.group != usual.group
    assert Cell(**json.loads(json.dumps(non_defaults(cell)))) == cell
    assert NAME not in non_defaults(usual)
    assert cell.columns()[NAME] == VALUE
    columns = Suite(Cache(folder / "cache", lambda text: None), folder, EFFORT).outcome(cell)
    assert (columns["status"], columns[NAME]) == ("ok", VALUE), columns["reason"]


def a_journal_has_it(folder: Path) -> None:
    both = [CELL, {**CELL, NAME: VALUE}]
    rows = [row_of(), row_of(**{NAME: VALUE})]
    with Journal.create(folder, RUN_ID, HEADER) as journal:
        journal.plan(both)
        for cell, row in zip(both, rows, strict=True):
            journal.launch({**cell, "number": 0, "status": "ok", "columns": {}})
            journal.row(row)
        journal.end("the plan is done")
    run = read_run(folder / RUN_ID)
    assert [cell_of(row) for row in run.rows] == [cell_of(launch) for launch in run.launches]
    assert [row[NAME] for row in run.rows] == [ADDED.default, VALUE]
    write_csv(rows, folder / "results.csv")
    assert read_csv(folder / "results.csv") == tuple(rows)


def tables_tell_it_apart() -> None:
    rows = [row_of(), row_of(**{NAME: VALUE})]
    frame = to_frame(rows)
    assert NAME in POSITION
    assert NAME in MATCHED
    assert len(placed(frame)) == 2
    assert str(VALUE) in render(frame)
    compared = compare(frame, to_frame([row_of(**{NAME: VALUE})]))
    latency = compared[compared["metric"] == "latency_p50_s"]
    verdicts = dict(zip(plain(latency[NAME]), latency["verdict"], strict=True))
    assert verdicts.keys() == {ADDED.default, VALUE}
    assert verdicts[ADDED.default] == "not comparable" != verdicts[VALUE]
    names = [name_of(row) for row in rows]
    assert names == ["mlp/tiny/infer/b4/fp32/t2/torch_cpu", f"mlp/tiny/infer/b4/fp32/t2/{MARKED}/torch_cpu"]
    benchmarks = json.loads(export_pytest(rows, []).text)["benchmarks"]
    assert {one["name"]: one["params"][NAME] for one in benchmarks} == dict(
        zip(names, (ADDED.default, VALUE), strict=True)
    )
    assert f"| `{NAME}` |" in page()
    assert NAME in columns_of(next(iter(GROUPS)))


def python_and_sql_name_series_alike() -> None:
    rows = [row_of(**{NAME: VALUE}), row_of(), *(row_of(**changes) for changes, _ in NAMES.values())]
    frame = to_frame(rows)
    found = duckdb.sql(f"SELECT {series_sql()} AS series FROM frame").fetchdf()["series"].tolist()
    assert found == [series_of(row) for row in rows]
    assert len(set(found)) == len(frame)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for number, check in enumerate((old_files_read_as_ever, a_cell_takes_it, a_journal_has_it)):
            (Path(place) / str(number)).mkdir()
            check(Path(place) / str(number))
    tables_tell_it_apart()
    python_and_sql_name_series_alike()
    print("all as it should be")
