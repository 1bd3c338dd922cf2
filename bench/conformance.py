"""The suite that every adapter passes, ours and others': subclass it, say which adapter, run pytest.

    class TestMine(samestep.AdapterConformance):
        adapter = "mybackend"

`adapter` is a backend's name, or the adapter's class. What the probe says is not here is skipped, with its reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import backends
from backends._outside import BrokenAdapter, declaration_faults, unsupported_faults
from backends.base import Adapter
from bench.cell import Cell
from bench.effort import Effort
from bench.parent.cache import Cache, default_root
from bench.parent.environment import child_environment, job_paths
from bench.parent.plans.plan import default_cell
from bench.parent.sources import ROOT
from bench.parent.suite import Suite
from host.topology import usable_cpus
from workloads.catalog import CATALOG, CONTROLS, MODELS, is_run_by, load, phases, phases_of
from workloads.precision import DEFAULT, PRECISIONS, precision_of
from workloads.recipes.int8 import why_undefined

CHILD = Path(__file__).resolve().parent / "conformance_child.py"
EFFORT = Effort(warm_up_s=0.0, warm_up_steps=1, budget_s=0.0, min_rounds=3)
PROBE_DEADLINE_S = 30.0
"""For a fresh interpreter that imports and probes, which takes tenths of a second: beyond it, the probe hangs."""
LIFETIME_DEADLINE_S = 1800.0


class AdapterConformance:
    """Tests of one adapter; the runtime is started in child processes only."""

    adapter: ClassVar[str | type[Adapter]]

    @pytest.fixture
    def declared(self) -> Adapter:
        """The adapter, which could be imported."""
        adapter = backends.get(self.adapter) if isinstance(self.adapter, str) else self.adapter()
        if isinstance(adapter, BrokenAdapter):
            pytest.fail(adapter.reason, pytrace=False)
        return adapter

    @pytest.fixture
    def usable(self, declared: Adapter) -> Adapter:
        """The adapter, where its probe says that it can run here."""
        probe = backends.probe(declared)
        if probe.status == "absent":
            pytest.skip(f"{declared.name}: {probe.reason}")
        if probe.status == "broken":
            pytest.fail(f"{declared.name}: {probe.reason}", pytrace=False)
        return declared

    @pytest.fixture
    def suite(self, declared: Adapter, tmp_path: Path) -> Suite:
        """What runs cells of the adapter, whatever their backend is called."""
        cache = Cache(default_root(os.environ), lambda text: None)
        return Suite(cache, tmp_path, EFFORT, None, lambda name: declared, _paths(declared))

    def test_its_module_declares_exactly_one_adapter(self, declared: Adapter) -> None:
        declaring = type(backends.load_adapter(type(declared).__module__))
        _must(declaring is type(declared), f"its module declares {declaring.__name__}, not {type(declared).__name__}")

    def test_it_declares_itself_well(self, declared: Adapter) -> None:
        _must(not (faults := declaration_faults(declared)), "; ".join(faults))

    def test_importing_and_probing_it_is_cheap_and_changes_nothing(self, declared: Adapter, tmp_path: Path) -> None:
        answer = _ask({"ask": "probe"}, declared, tmp_path, PROBE_DEADLINE_S)
        _must(not answer["faults"], "; ".join(answer["faults"]))
        loaded, changed = ", ".join(answer["loaded"]), ", ".join(answer["changed"])
        _must(not loaded, f"importing and probing it loads {loaded}: import them in load() and prepare()")
        _must(not changed, f"importing or probing it changes {changed}")
        _must(answer["said"][0] == answer["said"][1], f"probe() answers one thing, then another: {answer['said']}")

    @pytest.mark.parametrize("phase", phases())
    def test_a_precision_that_it_does_not_support(self, declared: Adapter, suite: Suite, phase: str) -> None:
        refusal = _why_unsupported(declared, phase, "no_such_precision")
        _must(refusal is not None, "why_unsupported() accepts a precision that is none")
        if phase not in phases_of(_first(declared)):
            pytest.skip(f"{declared.name} has no {phase} cells")
        cell = replace(_cell(declared, _first(declared), phase), precision="no_such_precision")
        status = suite.outcome(cell)["status"]
        _must(status == "unsupported", f"its cell must be unsupported, and is {status}")

    @pytest.mark.parametrize("phase", phases())
    @pytest.mark.parametrize("workload", CATALOG)
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_it_computes_the_same_step(
        self, usable: Adapter, suite: Suite, precision: str, workload: str, phase: str
    ) -> None:
        """Prepared, verified against the float64 reference, effective device and precision read back, timed."""
        cell = _supported(usable, workload, phase, precision)
        row = suite.outcome(cell)
        if row["status"] == "known_failure":
            pytest.xfail(row["reason"])
        _must(row["status"] == "ok", f"{cell.title}: {row['status']} in stage {row['stage']}: {row['reason']}")
        reasons = [failure.reason for failure in usable.known_failures if failure.covers(workload, phase)]
        _must(not reasons, f"{cell.title} passes, but is declared to fail: {reasons}; remove the declaration")

    @pytest.mark.parametrize("phase", phases())
    def test_its_steps_take_their_batch_and_close_twice(
        self, usable: Adapter, suite: Suite, tmp_path: Path, phase: str
    ) -> None:
        cell = _supported(usable, _first(usable), phase)
        entries = suite.entries(cell, cell.load_workload(), usable)
        job = {
            "ask": "lifetime",
            "cell": asdict(cell),
            "entries": {kind: str(entry.path) for kind, entry in entries.items()},
        }
        answer = _ask(job, usable, tmp_path, LIFETIME_DEADLINE_S)
        _must(not answer["faults"], "; ".join(answer["faults"]))


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        pytest.fail(otherwise, pytrace=False)


def _first(adapter: Adapter) -> str:
    """Returns the smallest workload that the adapter runs."""
    names = [workload for workload in CATALOG if is_run_by(workload, adapter.workloads)]
    return min(names, key=lambda name: (name not in MODELS, load(name, "tiny").parameter_count))


def _cell(adapter: Adapter, workload: str, phase: str) -> Cell:
    """Returns the tiny cell in the precision that every adapter has."""
    return default_cell(workload, "tiny", phase, adapter.name, len(usable_cpus()))


def _supported(adapter: Adapter, workload: str, phase: str, precision: str = DEFAULT.name) -> Cell:
    """Returns the tiny cell, and skips where the adapter says that it has no such phase, or runs other workloads."""
    if not is_run_by(workload, adapter.workloads) or phase not in phases_of(workload):
        pytest.skip(f"{adapter.name} has no {phase} cells of {workload}")
    if workload in CONTROLS and precision != DEFAULT.name:
        pytest.skip(f"{workload} has one precision")
    cell = replace(_cell(adapter, workload, phase), precision=precision)
    if undefined := why_undefined(cell.load_workload().programs[phase], precision_of(precision)):
        pytest.skip(undefined)
    if refusal := _why_unsupported(adapter, phase, cell.precision):
        pytest.skip(refusal[1])
    return cell


def _why_unsupported(adapter: Adapter, phase: str, precision: str) -> tuple[str, str] | None:
    """Returns the adapter's answer, and fails where it is none."""
    refusal = adapter.why_unsupported(phase, precision)
    _must(not (faults := unsupported_faults(refusal)), "; ".join(faults))
    return refusal


def _paths(adapter: Adapter) -> tuple[str, ...]:
    """Returns the folder from which the adapter's module was imported: its children look there last."""
    module = type(adapter).__module__
    file = Path(sys.modules[module].__file__ or "")
    folder = file.parents[module.count(".") + (file.name == "__init__.py")]
    return () if folder == ROOT else (str(folder),)


def _ask(job: dict[str, Any], adapter: Adapter, folder: Path, deadline_s: float) -> dict[str, Any]:
    """Returns the answer of a fresh interpreter in `folder`; fails with its last words where it gives none."""
    job = job | {"adapter": type(adapter).__module__, "paths": [*_paths(adapter), *job_paths()]}
    command = [sys.executable, "-P", str(CHILD), json.dumps(job)]
    environment = child_environment(os.environ, len(usable_cpus()), adapter.environment)
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=deadline_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{job['ask']} of {adapter.name} took longer than {deadline_s:g} s", pytrace=False)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-15:])
        pytest.fail(f"{job['ask']} of {adapter.name} ended with status {done.returncode}\n{last}", pytrace=False)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
