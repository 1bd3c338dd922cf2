"""The house itself: no arrow between the rooms runs back, and a declaration imports nothing heavy."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "host": {"host"},
    "workloads": {"workloads"},
    "results": {"results"},
    "backends": {"backends", "workloads", "host"},
    "bench": {"bench", "backends", "workloads", "host", "results"},
}
"""What each room may import, of the rooms."""
FLOORS = {
    "results.record": {"results.record"},
    "results.tables": {"results.record", "results.tables"},
    "results.nights": {"results.record", "results.tables", "results.nights"},
    "results.show": {"results.record", "results.tables", "results.nights", "results.show"},
    "results.cli": {"results.record", "results.tables", "results.nights", "results.show", "results.cli"},
    "bench.parent": {
        "bench.artifacts",
        "bench.cell",
        "bench.effort",
        "bench.parent",
        "bench.scenario_cell",
        "bench.service_cell",
    },
    "bench.child": {"bench.cell", "bench.effort", "bench.child", "bench.serving"},
}
"""What each folder of a room may import, of its room."""
DOORS = {"backends/__main__.py": {"samestep"}}
"""Who may import more: `python -m backends` is `samestep backends`, whose `--check` starts what no adapter knows."""
HEAVY = {"torch", "jax", "jaxlib", "onnx", "onnxscript", "onnxruntime", "openvino", "pandas", "numpy", "scipy"}


def imported(path):
    """Returns the dotted names that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_runs_back(path):
    room = path.relative_to(ROOT).parts[0]
    rooms = {name.partition(".")[0] for name in imported(path)} & {*ROOMS, "samestep", "conftest", "tests"}
    assert rooms <= ROOMS[room] | DOORS.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    "path", [*FILES, *(ROOT / "samestep").glob("*.py")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_imports_a_door(path):
    """What `python -m` runs is for people: it may know more than its room does, and must not be a way round."""
    doors = {name for name in imported(path) if ".__main__" in name} - {"samestep.__main__.list_backends"}
    assert doors == set()


def strings(path):
    """Returns the texts that a file holds."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def told_rooms(texts):
    """Returns the rooms that are named as a module or as a path of one is, which no import statement tells of."""
    return {re.split("[./:]", text)[0] for text in texts if re.fullmatch(r"[\w./:]+", text)} & {*ROOMS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_runs_back_by_a_path_or_a_name(path):
    room = path.relative_to(ROOT).parts[0]
    assert told_rooms(strings(path)) <= ROOMS[room]


def test_an_arrow_by_a_path_or_a_name_is_seen(tmp_path):
    (tmp_path / "door.py").write_text(
        'run(root / "bench" / "check.py"); load("results.record"); say("the bench is")\nmake("backends._a:b")'
    )
    assert told_rooms(strings(tmp_path / "door.py")) == {"backends", "bench", "results"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_between_the_folders_of_a_room_runs_back(path):
    room, *rest = path.relative_to(ROOT).parts
    allowed = FLOORS.get(f"{room}.{rest[0]}")
    if allowed is not None:
        mine = {".".join(name.split(".")[:2]) for name in imported(path) if name.partition(".")[0] == room}
        assert mine <= allowed


def test_bench_imports_results_only_to_write_rows():
    importers = {
        str(path.relative_to(ROOT / "bench")): {name for name in imported(path) if name.startswith("results.")}
        for path in (ROOT / "bench").rglob("*.py")
        if any(name.startswith("results") for name in imported(path))
    }
    assert importers == {
        "cell.py": {
            "results.record.dimensions.DIMENSIONS",
            "results.record.dimensions.IN_ORDER",
            "results.record.dimensions.label_of",
            "results.record.dimensions.more_in_words",
            "results.record.dimensions.name_parts",
        },
        "front.py": {"results.record.files.AtomicPath"},
        "parent/header.py": {"results.record.text.slug"},
        "parent/belief.py": {"results.record.schema.MEASURED"},
        "parent/children/group.py": {
            "results.record.human.ratio",
            "results.record.human.time_in_words",
            "results.record.rounds",
        },
        "parent/groups.py": {"results.record.dimensions.OF_GROUP", "results.record.row.cell_of"},
        "parent/limits.py": {
            "results.record.files.ResultsError",
            "results.record.row.cell_of",
            "results.record.row.make_row",
            "results.record.run.find_runs",
            "results.record.run.read_run",
            "results.record.schema.DERIVED",
        },
        "parent/merge.py": {"results.record.rounds", "results.record.schema.MEASURED"},
        "parent/plans/climb.py": {
            "results.record.cells.ladder.LEAST_GAIN",
            "results.record.cells.ladder.NOT_NEEDED",
            "results.record.cells.ladder.best_batch",
        },
        "parent/plans/options.py": {
            "results.record.peaks.published",
            "results.record.run.Run",
            "results.record.run.read_run",
        },
        "parent/plans/shapes.py": {"results.record.limits.READING"},
        "parent/record.py": {
            "results.record.dimensions.CELL_COLUMNS",
            "results.record.rounds",
            "results.record.schema.COLUMN",
            "results.record.vocabulary.REASON_CODES",
            "results.record.vocabulary.STATUSES",
        },
        "parent/run.py": {
            "results.record.csvfile.write_csv",
            "results.record.journal.Journal",
            "results.record.journal.new_run_id",
            "results.record.row.cell_of",
            "results.record.row.Row",
            "results.record.row.make_row",
            "results.record.run.Run",
            "results.record.run.run_so_far",
            "results.record.services.csvfile.CSV_NAME",
            "results.record.services.csvfile.write_services",
            "results.record.services.row.key_of",
            "results.record.vocabulary.PREFERRED_BASELINE",
        },
        "serving/command.py": {"results.record.services.csvfile.write_services"},
        "parent/services.py": {
            "results.record.journal.Journal",
            "results.record.row.Row",
            "results.record.services.row.make_service_row",
        },
        "parent/session.py": {
            "results.record.human.in_words",
            "results.record.journal.Journal",
            "results.record.journal.not_run_row",
            "results.record.limits.bounds_of",
            "results.record.rounds.OF_LAUNCH",
            "results.record.row.make_row",
        },
    }


def test_workloads_know_numpy_and_nothing_heavier():
    for path in (ROOT / "workloads").rglob("*.py"):
        tops = {name.partition(".")[0] for name in imported(path)}
        assert tops & HEAVY <= {"numpy"}, path


def test_the_vocabulary_is_bound_completely_by_every_framework():
    from backends._jax_ops import JaxOps
    from backends._torch_ops import TorchOps
    from workloads.count import CountOps
    from workloads.reference import NumpyOps

    for binding in (JaxOps, TorchOps, CountOps, NumpyOps):
        assert not binding.__abstractmethods__


def loaded_by(code):
    """Returns which heavy libraries a fresh interpreter has loaded after `code`."""
    report = f"import sys; print('LOADED', *sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import backends; [backends.get(name).probe() for name in backends.names()]",
        "import backends.__main__; backends.__main__.main([])",
        "import workloads.catalog",
        "import bench; bench.run, bench.select, bench.Settings",
        "import results.record.journal, results.record.row, host.machine",
        "import samestep",
        "import samestep.__main__ as door\ntry: door.main(['--help'])\nexcept SystemExit: pass",
        "import samestep.__main__ as door; door.main(['nonsense'])",
        "import samestep.__main__ as door; door.main(['backends'])",
        "import samestep.__main__ as door; door.main(['run', '--co', '-q'])",
        "import pytest; pytest.main(['bench', '--co', '-q'])",
    ],
)
def test_nothing_heavy_is_loaded_by(code):
    assert loaded_by(code) == set()


def test_the_check_for_heavy_libraries_sees_one():
    assert loaded_by("import numpy") == {"numpy"}


def names_a_phase(node):
    """Returns whether the comparison holds a phase against a name: `cell.phase == "train"`, `phase in ("infer",)`."""
    sides = [node.left, *node.comparators]
    about_phase = any(
        getattr(side, "attr", getattr(side, "id", "")) == "phase"
        or (isinstance(side, ast.Subscript) and isinstance(side.slice, ast.Constant) and side.slice.value == "phase")
        for side in sides
    )
    is_text = any(
        isinstance(part, ast.Constant) and isinstance(part.value, str)
        for s in sides
        for part in ast.walk(s)
        if not isinstance(s, ast.Subscript)
    )
    return about_phase and is_text


OUTSIDE = [path for path in FILES if path.relative_to(ROOT).parts[0] != "workloads"] + [ROOT / "conftest.py"]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_outside_workloads_asks_for_a_phase_or_a_precision_by_name(path):
    tree = ast.parse(path.read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Compare) and names_a_phase(node)] == []
    precisions = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value == "fp32"]
    # What goes without saying where a person reads (`PLAIN_PRECISION`): results/ knows no other room.
    assert len(precisions) == (path.name == "dimensions.py")


@pytest.mark.parametrize("code", ['cell.phase == "train"', 'phase in ("infer", "train")', 'row["phase"] != "infer"'])
def test_the_check_for_phases_sees_one(code):
    (comparison,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Compare))
    assert names_a_phase(comparison)


def test_the_vocabulary_grows_by_defaults_alone():
    """These are all that a binding must have, for good: what a later model needs has a default of others."""
    from workloads.ops import Ops

    assert {
        "embedding", "linear", "conv2d", "batch_norm", "max_pool2d", "mean", "relu", "tanh", "gelu", "attention",
        "cross_entropy", "reshape", "transpose", "split", "arange", "sqrt",
    } == Ops.__abstractmethods__  # fmt: skip


def test_no_file_holds_more_than_one_idea():
    """Files stay under about 300 lines, folders under about 15 files, but for registries: a file is an entry there."""
    long = {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 300}
    assert long == {}
    folders = Counter(path.parent.relative_to(ROOT) for path in FILES if path.name != "__init__.py")
    assert {str(folder): n for folder, n in folders.items() if n > 16 and str(folder) not in REGISTRIES} == {}


REGISTRIES = ("backends", "workloads/models")


def at_once(path):
    """Returns the modules of ours that a file imports as it is loaded: not in functions, nor for type checkers."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_import_goes_round_in_a_circle():
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {name: (at_once(path) & modules.keys()) - {name} for name, path in modules.items()}
    for name, needs in graph.items():  # importing a folder's file loads the folder's own first, which is another arrow
        graph[name] = {need for need in needs if not name.startswith(f"{need}.")}
    assert list(TopologicalSorter(graph).static_order())
