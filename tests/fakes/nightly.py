"""scripts/nightly called, with made-up runs, commands and a made-up tox."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

from results.record.csvfile import write_csv
from results.record.journal import Journal
from tests.fakes.rows import HEADER, cell, row_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "nightly"
WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
NIGHT = date(2026, 11, 23)


def nightly(*arguments, script=SCRIPT, path=None, **environment):
    """Runs the script with nothing of this shell's settings for it; `path` is a folder of commands that come first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SAMESTEP_", "GIT_"))}
    first = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    environment["PATH"] = first if path is None else f"{path}{os.pathsep}{first}"
    return subprocess.run(
        ["bash", str(script), *map(str, arguments)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def command(folder, name, text):
    """Puts a command of that name, in shell, into the folder, which is returned."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)
    return folder


def write_run(folder, machine="alpha", day=NIGHT, latency=1e-3, ended=True):
    """Writes a run with one cell that has a number; without its end and CSV it was killed, or is going on."""
    run_id, of_run = f"{day:%Y%m%d}T030000Z-{machine}-1a2b", {"machine": machine, "machine_id": f"id-{machine}"}
    header = {**HEADER, "machine": {"name": machine, "machine_id": f"id-{machine}"}, "started_utc": f"{day}T03:00:00Z"}
    rows = [
        row_of(
            run_id=run_id,
            software_id="s1",
            started_utc=f"{day}T03:00:00Z",
            method_version="2",
            quality="valid",
            latency_p50_s=latency,
            throughput_samples_per_s=4 / latency,
            throughput_mode="serial",
            **of_run,
        )
    ]
    with Journal.create(folder, run_id, header) as journal:
        journal.plan([cell()])
        if ended:
            journal.row(rows[0])
            journal.end("the plan is done")
    if ended:
        write_csv(rows, folder / run_id / "results.csv")
    return folder / run_id


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tox_that(tmp_path, status, leaves=None):
    """Returns a folder with a tox that says how it was called, leaves a run (a folder to copy) and ends."""
    copy = "" if leaves is None else f'cp -R "{leaves}" "${{@: -1}}/"'
    return command(tmp_path / "bin", "tox", f'echo "$@"\n{copy}\nexit {status}')


NEW = [{"alarm_id": "0f-latency-20261123", "is_open": True, "is_new": True}]
OPEN = [{"alarm_id": "0f-latency-20261101", "is_open": True, "is_new": False}]


def made_up(alarms, history, page, text):
    """Returns a program with made-up commands: `history` of that status leaves alarms (None: no file)."""
    return f"""
import sys
from pathlib import Path
from results.__main__ import main
from results.cli import history, report
from results.cli.common import FailOnMet

def made_up_history(options):
    if {alarms!r} is not None:
        options.json.write_text({alarms!r})
    if {history!r} == 1:
        raise FailOnMet({text!r})
    if {history!r} == 2:
        raise RuntimeError("a bug")
    return {text!r}

def made_up_report(options):
    if {page!r}:
        raise RuntimeError("a bug")
    Path(options.output).write_text("a page")
    return "a page"

history._history, report._report = made_up_history, made_up_report
sys.exit(main(sys.argv[3:]))
"""


def report_of(tmp_path, alarms, history, page=0, text="", **environment):
    """Returns what `report` did where these commands say so."""
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "bin").mkdir(exist_ok=True)
    alarms = alarms if isinstance(alarms, str | None) else json.dumps(alarms)
    (tmp_path / "bin" / "made_up.py").write_text(made_up(alarms, history, page, text))
    environment["SAMESTEP_PYTHON"] = f"{sys.executable} {tmp_path}/bin/made_up.py"
    return nightly("report", tmp_path / "store", tmp_path / "out", **environment)
