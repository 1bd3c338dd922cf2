"""The command `samestep`, as a person calls it: from any folder, one with rooms and a conftest of its own too."""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import backends.__main__
import samestep.__main__ as console
from backends._probes import probe_cpu
from results.__main__ import add_commands
from results.record.csvfile import write_csv
from tests.fakes.door import bench, environment, run_in, statuses
from tests.fakes.rows import row_of

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "docs" / "measured" / "runs" / "20261126T175832Z-two-threads-again-8586"
SMOKE = ("--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--backends", "null", "--benchmark-disable")
BY_MODULE = ("-m", "samestep")
BY_SCRIPT = ("-c", "import sys; sys.path[0] = '/bin'; from samestep.__main__ import main; sys.exit(main())")
"""How pip's script for the entry point in pyproject.toml calls it: its own folder is first on the path."""
NAMES = ("workloads", "backends", "bench", "host", "results", "conftest", "tests", "mlp", "runs", "pandas", "random")


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def foreign(tmp_path):
    """A folder of a user's own, with a module, a package and a conftest by each name that could be meant instead."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        for file in (f"{name}.py", f"{name}/__init__.py", f"{name}/conftest.py", f"{name}/__main__.py"):
            (tmp_path / file).write_text(f"raise SystemError('{file} of somebody else was imported')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    return tmp_path


def samestep(*words, cwd, how=BY_SCRIPT, **more):
    return subprocess.run(
        [sys.executable, *how, *map(str, words)],
        cwd=cwd,
        env=environment(COLUMNS="120", **more),
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_script_of_the_package():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"samestep": f"{console.__name__}:{console.main.__name__}"}


@pytest.mark.parametrize("how", [BY_SCRIPT, ("-P", *BY_MODULE)])
def test_tables_are_read_in_a_folder_with_rooms_of_its_own(foreign, how):
    done = samestep("table", RUN, cwd=foreign, how=how)
    assert (done.returncode, done.stderr) == (0, "")
    assert "two-threads-again" in done.stdout


def test_the_path_that_the_user_set_does_not_put_theirs_first(foreign):
    done = samestep("table", RUN, cwd=foreign, PYTHONPATH=f"{foreign}{os.pathsep}.{os.pathsep}")
    assert (done.returncode, done.stderr) == (0, "")


def test_backends_are_listed_in_a_folder_with_rooms_of_its_own(foreign):
    done = samestep("backends", "null", cwd=foreign)
    assert (done.returncode, done.stdout.split()[:2], done.stderr) == (0, ["null", "usable"], "")


def test_backends_are_checked_in_a_folder_with_rooms_of_its_own(foreign):
    done = samestep("backends", "--check", "null", cwd=foreign)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()[-2:]] == [["infer:", "ok"], ["train:", "ok"]]


@pytest.mark.parametrize("door", [lambda words: console.main(["backends", *words]), backends.__main__.main])
@pytest.mark.parametrize("good", [True, False])
def test_a_backend_that_fails_its_check_has_status_1(door, good, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("bench.check.check", lambda name: asked.append(name) or good)
    assert door(["null", "numpy_cpu"]) == 0
    assert asked == []
    assert door(["null", "numpy_cpu", "--check"]) == (0 if good else 1)
    assert asked == ["null", "numpy_cpu"]


def test_a_run_from_a_folder_with_rooms_of_its_own_leaves_its_files_there(foreign):
    (foreign / "mine").mkdir()
    done = samestep("run", *SMOKE, "--results-dir", "mine", "--junitxml", "mine/junit.xml", cwd=foreign)
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(run_in(foreign / "mine")) == {("infer", "null"): "ok"}
    assert (foreign / "mine" / "junit.xml").is_file()
    assert f"rootdir: {ROOT}" in done.stdout


def test_a_run_by_module_in_a_folder_with_rooms_of_its_own(foreign):
    # A module of the standard library that `python -m` itself imports is out of our hands; `random` it does not.
    done = samestep("run", "--co", "-q", *SMOKE, cwd=foreign, how=BY_MODULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlp-b4-fp32-null]" in done.stdout


def test_the_json_of_a_run_goes_where_the_user_says(tmp_path):
    given = [word for word in SMOKE if word != "--benchmark-disable"]
    done = samestep("run", *given, "--results-dir", "runs", "--benchmark-json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"runs", "out.json"}


def test_a_run_collects_what_pytest_bench_collects(tmp_path):
    asked = ("--co", "-q", *SMOKE)
    assert (
        samestep("run", *asked, cwd=tmp_path).stdout.splitlines()[:-1]
        == (bench(*asked, cwd=tmp_path).stdout.splitlines()[:-1])
    )


def test_a_module_of_the_users_own_is_found_last(tmp_path):
    (tmp_path / "my_plugin.py").write_text("def pytest_report_header():\n    return 'my plugin is here'\n")
    done = samestep("run", "-p", "my_plugin", "--co", *SMOKE, cwd=tmp_path)
    assert "my plugin is here" in done.stdout


def test_a_folder_of_the_users_own_with_the_name_of_a_runtime_is_no_runtime(tmp_path, monkeypatch):
    (tmp_path / "some_runtime").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert find_spec("some_runtime") is not None
    assert probe_cpu("some_runtime", (), "some").status == "absent"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("run", "--no-such-option"), 4),
        (("run", "--backends", "nope"), 4),
        (("run", "--co", *SMOKE, "-k", "nothing_of_this_name"), 5),
        (("backends", "nope"), 2),
        (("table", "absent"), 2),
        (("table", "--no-such-option"), 2),
        (("compare", "a.csv", "b.csv", "--fail-on", "slower"), 1),
        (("compare", "a.csv", "b.csv"), 0),
    ],
)
def test_exit_statuses_pass_through(tmp_path, words, status):
    write_csv([row_of(run_id="20261125T000000Z-a-0001")], tmp_path / "a.csv")
    slow = dict.fromkeys(("latency_p50_s", "latency_ci_low_s", "latency_ci_high_s"), 1e3)
    write_csv([row_of(run_id="20261125T000000Z-a-0002", **slow)], tmp_path / "b.csv")
    done = samestep(*words, cwd=tmp_path)
    assert done.returncode == status, done.stdout + done.stderr


@pytest.mark.parametrize("word", ["tabel", "nonsense", "--check", ""])
def test_an_unknown_command_is_said_in_one_line_with_the_known_ones(word, capsys):
    assert console.main([word]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(
        f"samestep: unknown command {word!r}; known: run, backends, check-model, service, table, precisions, parts, "
    )
    assert ("did you mean table?" in said.err) == (word == "tabel")


def commands():
    """Returns the commands of `python -m results`."""
    subparsers = argparse.ArgumentParser().add_subparsers()
    add_commands(subparsers)
    return [*subparsers.choices]


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as exited:
        console.main(["--help"])
    assert exited.value.code == 0
    told = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert {"run", "backends", *commands()} <= told


def test_without_a_command_its_help_is_said_with_status_2(capsys):
    assert console.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: samestep [-h] [--version] COMMAND ...\n")


def test_its_version(capsys):
    with pytest.raises(SystemExit) as exited:
        console.main(["--version"])
    assert (exited.value.code, capsys.readouterr().out) == (0, f"samestep {console.__version__}\n")


@pytest.mark.parametrize("command", commands())
def test_usage_says_how_it_was_called(command, capsys):
    with pytest.raises(SystemExit):
        console.main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: samestep {command} ")


def test_usage_of_a_run_and_of_backends_says_how_they_were_called(tmp_path, capsys):
    assert samestep("run", "--help", cwd=tmp_path).stdout.startswith("usage: samestep run ")
    with pytest.raises(SystemExit):
        console.main(["backends", "--help"])
    assert capsys.readouterr().out.startswith("usage: samestep backends ")


@pytest.mark.parametrize(("words", "status"), [(["table", RUN], 141), (["backends"], 141), (["run", "--help"], 1)])
def test_a_reader_that_leaves_ends_it_quietly(words, status, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, *BY_SCRIPT, *map(str, words)],
        cwd=tmp_path,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("duckdb", ["pack", "{folder}"]),
        ("matplotlib", ["plot", "{run}", "--output", "{folder}/plot.svg"]),
        ("pandas", ["table", "{run}"]),
    ],
)
def test_a_library_that_is_missing_is_said_with_its_cure(library, words, tmp_path):
    shutil.copytree(RUN, tmp_path / RUN.name)
    words = [word.format(run=RUN, folder=tmp_path) for word in words]
    code = f"import sys; sys.modules[{library!r}] = None; sys.path[0] = '/bin'; import samestep.__main__ as console; "
    done = samestep(*words, cwd=tmp_path, how=("-c", code + "sys.exit(console.main())"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("pip install -e '.[reports]'") == 1
    assert done.stderr.count("\n") == 1


def test_a_module_of_ours_that_is_missing_is_a_fault_of_ours(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "results.show.render", None)
    assert console.main(["table", str(RUN)]) == 2
    assert capsys.readouterr().err.startswith("Traceback")
