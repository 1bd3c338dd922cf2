"""Adapters of other packages that break the rules are contained and named; the others run on."""

import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends._outside import PROBE_CODES, UNSUPPORTED_CODES, declaration_faults, unsupported_faults
from backends.base import PRESETS
from backends.torch_cpu import TorchCpu
from bench.parent.cache import Cache
from bench.parent.plans import plan
from bench.parent.suite import Suite
from results.record.vocabulary import REASON_CODES
from tests.fakes.bench import CELL, EFFORT
from tests.fakes.door import bench, rows_of_work, run_in

ROOT = Path(__file__).resolve().parent.parent
GOOD = "from backends.torch_cpu import TorchCpu\n\nclass Mine(TorchCpu): ...\n"
UNVERIFIED = (
    "from backends.null import Null\nfrom backends.base import Probe\n\nclass Mine(Null):\n    device_kind = 'none'\n"
)
NULL = UNVERIFIED + "    verifiable = True\n"

BROKEN = {
    "raises": ("raise RuntimeError('planted at import')\n", "RuntimeError: planted at import"),
    "leaves": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "not_python": ("class:\n", "SyntaxError"),
    "has_none": ("x = 1\n", "must declare exactly one Adapter, found []"),
    "has_two": (GOOD + "\nclass Other(TorchCpu): ...\n", "found ['Mine', 'Other']"),
    "is_abstract": ("from backends.base import Adapter\n\nclass Mine(Adapter): ...\n", "abstract"),
    "lies": (NULL + "    name = 'torch_cpu'\n", "calls itself 'torch_cpu' and its entry point 'lies'"),
    "declares_text": (NULL + "    phases = 'infer'\n", "phases must be a tuple of str, got 'infer'"),
    "declares_more": (NULL + "    phases = ('serve',)\n", "phases must be of infer, train"),
    "goes_unverified": (UNVERIFIED, "verifiable must be True: a step that is not verified has no number; got False"),
    "unsure": (UNVERIFIED + "    verifiable = 1\n", "verifiable must be True"),
    "probe_raises": (NULL + "    def probe(self): raise OSError('planted probe')\n", "probe(): OSError: planted probe"),
    "probe_lies": (NULL + "    def probe(self): return True\n", "probe() must return a Probe, got True"),
    "probe_silent": (NULL + "    def probe(self): return Probe('absent')\n", "has a reason and a reason_code"),
}
"""Module by backend, and words of the reason."""


def install(folder, package, entries, modules):
    """Puts a package into `folder` as pip would: its modules, and its metadata with entry points."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in entries]
    (info / "entry_points.txt").write_text("\n".join(["[samestep.backends]", *lines, ""]))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Returns a folder of packages: one good adapter among many broken ones."""
    folder = tmp_path_factory.mktemp("strangers")
    install(folder, "good", [("good", "good")], {"good": GOOD})
    stumbling = NULL + "    def why_unsupported(self, phase, precision): raise KeyError(phase)\n"
    install(folder, "stumbles_dist", [("stumbles", "stumbles")], {"stumbles": stumbling})
    for name, (text, _) in BROKEN.items():
        install(folder, f"{name}_dist", [(name, name)], {name: text})
    install(folder, "names", [("torch_cpu", "good"), ("Not-A-Name", "good")], {})
    install(folder, "values", [("missing", "no_such_module"), ("object", "good:Mine")], {})
    install(folder, "twice", [("same", "good")], {})
    install(folder, "again", [("same", "raises")], {})
    return folder


def python(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def listing(strangers):
    """Returns what `python -m backends` prints: its exit status, and (status, lines) of each backend."""
    done = python(strangers, "-m", "backends")
    assert done.stderr == ""
    found = {}
    for line in done.stdout.splitlines():
        if line[0] != " ":
            name, status = line.split()[:2]
            found.setdefault(name, []).append([status, ""])
        else:
            found[name][-1][1] += line.strip()
    return done.returncode, found


def test_a_broken_stranger_makes_the_listing_fail(listing):
    assert listing[0] == 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stranger_is_listed_with_its_reason(listing, name):
    ((status, reason),) = listing[1][name]
    assert status == "broken"
    assert BROKEN[name][1] in reason


def test_the_package_is_named(listing):
    assert "raises of raises_dist: RuntimeError" in listing[1]["raises"][0][1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Not-A-Name", "its name must consist of a-z, 0-9 and _, got 'Not-A-Name'"),
        ("missing", "No module named 'no_such_module'"),
        ("object", "is not the name of a module"),
    ],
)
def test_an_entry_point_that_cannot_be_one_is_listed(listing, name, words):
    ((status, reason),) = listing[1][name]
    assert (status, words in reason) == ("broken", True)


def test_a_name_of_ours_stays_ours(listing):
    ours, theirs = listing[1]["torch_cpu"]
    assert ours[0] == "usable"
    assert theirs == ["broken", "good of names: samestep has a backend 'torch_cpu' of its own; choose another name"]


def test_a_name_claimed_twice_is_nobodys(listing):
    assert [(status, "2 entry points are called 'same'" in reason) for status, reason in listing[1]["same"]] == [
        ("broken", True),
        ("broken", True),
    ]


REFUSED = {
    "Not-A-Name": ["good of names: its name must consist of a-z, 0-9 and _, got 'Not-A-Name'"],
    "same": [
        f"{module}: 2 entry points are called 'same'; uninstall all but one"
        for module in ("good of twice", "raises of again")
    ],
    "nobody": [],
}
"""What is said of a backend that is asked for by name and has no cells, beside the known ones."""


def said_of(name):
    return "".join(f"; {words}" for words in REFUSED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_name_is_unknown_with_its_reason(strangers, name):
    code = "import backends, sys\ntry: backends.get(sys.argv[1])\nexcept ValueError as error: print(error)"
    said = python(strangers, "-c", code, name).stdout.strip()
    assert said.startswith(f"unknown backend {name!r}; known: ")
    assert said.endswith(f", torch_cuda, unsure, null{said_of(name)}")
    assert python(strangers, "-m", "backends", name).stderr.strip().endswith(f"error: {said}")


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_name_cannot_be_planned_for_its_reason(strangers, tmp_path, name):
    done = bench("--preset", "smoke", "--backends", name, cwd=tmp_path, PYTHONPATH=str(strangers))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"null{said_of(name)}\n" in done.stderr


def test_the_good_one_is_usable_and_ours_are_all_there(listing):
    assert listing[1]["good"][0][0] == "usable"
    assert set(backends.own_names()) <= set(listing[1])


def test_listing_them_loads_nothing_heavy(strangers):
    code = "import backends.__main__ as m, sys; m.main([]); print(*{'torch', 'jax', 'numpy'} & set(sys.modules))"
    assert python(strangers, "-c", code).stdout.splitlines()[-1] == ""


def test_their_cells_are_broken_and_the_others_run(strangers, tmp_path):
    done = bench(
        *("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--results-dir", "runs"),
        *("--backends", "raises,lies,goes_unverified,probe_raises,stumbles,good,null"),
        cwd=tmp_path,
        PYTHONPATH=str(strangers),
    )
    rows = {row["backend"]: row for row in rows_of_work(run_in(tmp_path / "runs"))}
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert {name: row["status"] for name, row in rows.items()} == {
        "raises": "broken",
        "lies": "broken",
        "goes_unverified": "broken",
        "probe_raises": "broken",
        "stumbles": "broken",
        "good": "ok",
        "null": "ok",
    }
    assert (rows["good"]["verification"], rows["null"]["verification"]) == ("passed", "not applicable")
    assert rows["raises"]["reason_code"] == "import_failed"
    assert "planted at import" in rows["raises"]["reason"]
    assert "planted probe" in rows["probe_raises"]["reason"]
    assert "why_unsupported(): KeyError: 'infer'" in rows["stumbles"]["reason"]
    assert "5 failed, 4 passed" in done.stdout


def test_the_codes_of_probes_are_codes_of_rows():
    assert set(PROBE_CODES) <= set(REASON_CODES)


def test_the_codes_of_what_is_unsupported_are_codes_of_rows():
    assert set(UNSUPPORTED_CODES) <= set(REASON_CODES)


@pytest.mark.parametrize("answer", [None, ("phase_not_supported", "why"), ("precision_not_supported", "why")])
def test_answers_that_why_unsupported_may_give(answer):
    assert unsupported_faults(answer) == []


@pytest.mark.parametrize(
    "answer",
    [
        *(True, False, "no", (), ("phase_not_supported",), ("phase_not_supported", ""), ("phase_not_supported", " ")),
        *(("deadline", "why"), ("mine", "why"), ("phase_not_supported", 3), ["phase_not_supported", "why"]),
    ],
)
def test_answers_that_why_unsupported_may_not_give(answer):
    (fault,) = unsupported_faults(answer)
    expected = "why_unsupported() must return None or (phase_not_supported or precision_not_supported, a reason)"
    assert fault == f"{expected}, got {answer!r}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *asked: "no", "why_unsupported() must return None or (phase_not_supported or"),
        (lambda *asked: ("mine", "why"), "a reason), got ('mine', 'why')"),
        (lambda *asked: sys.exit(3), "why_unsupported(): SystemExit: 3"),
    ],
    ids=["text", "code", "exit"],
)
def test_a_cell_whose_adapter_answers_with_something_else_is_broken(tmp_path, answer, words):
    """Both where artifacts are made ahead, and where the cell is run."""
    adapter = type("Mine", (TorchCpu,), {"why_unsupported": answer})()
    suite = Suite(Cache(tmp_path, lambda text: None), tmp_path, EFFORT, find_adapter=lambda name: adapter)
    suite.prepare([CELL])
    columns = suite.run(CELL).columns
    assert (columns["status"], columns["stage"], columns["reason_code"]) == ("broken", "plan", "start_failed")
    assert words in columns["reason"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"name": "Mine"}, "name must consist of a-z"),
        ({"device_kind": ""}, "device_kind must be"),
        ({"precisions": ()}, "precisions must name at least one"),
        ({"precisions": ("FP 32",)}, "precisions must name at least one"),
        ({"presets": "full"}, "presets must be a tuple of str, got 'full'"),
        ({"presets": ("full", "nightly")}, "presets must be of smoke, quick, full, got ('full', 'nightly')"),
        ({"overlap": "both"}, "overlap must be one of all, stateless, none, got 'both'"),
        ({"serial_phases": ("train",)}, 'serial_phases is overlap = "all", "stateless" or "none" since 0.2'),
        ({"needs_graph": True}, "needs_graph is artifacts = (samestep.ONNX,) since 0.2"),
        ({"artifacts": ("onnx",)}, "artifacts must be a tuple of Artifact, got ('onnx',)"),
        ({"distributions": (1,)}, "distributions must be a tuple of str"),
        ({"verifiable": False}, "verifiable must be True"),
        ({"known_failures": ("it fails",)}, "known_failures must be a tuple of KnownFailure"),
        ({"options": {"speed": "high"}}, "options must give each name a tuple of str, the default first"),
        ({"options": {"Speed!": ("high",)}}, "options must give each name a tuple of str, the default first"),
        ({"options": {"speed": ()}}, "options must give each name a tuple of str, the default first"),
    ],
)
def test_a_declaration_that_is_not_one(declared, words):
    (fault,) = declaration_faults(type("Mine", (TorchCpu,), declared)())
    assert words in fault


def test_an_adapter_may_be_in_no_preset():
    assert declaration_faults(type("Mine", (TorchCpu,), {"presets": ()})()) == []


def test_the_presets_that_adapters_may_name_are_those_of_runs():
    assert tuple(plan.PRESETS) == PRESETS


def test_only_null_goes_unverified():
    assert [name for name in backends.own_names() if not backends.get(name).verifiable] == ["null"]
    assert declaration_faults(backends.get("null")) == []
