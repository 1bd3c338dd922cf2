"""Which backends will run a user's own model, in which phases, and why not the others: `samestep check-model MODEL`.

Nothing is timed, and no step is prepared: the model is exported, backends are looked for, and each is asked in a child
which of its operators it lacks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import backends
from bench.cell import Cell
from bench.parent.children.launch import launch
from bench.parent.own.asked import OPTIONS
from bench.parent.own.made import paths
from bench.parent.plans.options import cores
from bench.parent.plans.parse import PlanError
from bench.parent.plans.plan import Selection, cells, is_verified, select
from bench.parent.plans.presets import ALWAYS
from bench.parent.suite import non_defaults, probed, why_not
from workloads.own.folder import PHASES
from workloads.own.onnx_file import FileProgram

TAKEN = ("--backends", "--batch", "--phases")


def main(words: Sequence[str], prog: str = "samestep check-model") -> int:
    """Prints a line for each model and backend. Returns 1 where a model cannot be made or one of its phases is refused,
    2 where what was asked for cannot be meant."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("model", help="package.module:factory, or a file; several comma-separated")
    for name in TAKEN:
        parser.add_argument(name, metavar="LIST")
    for name, keywords in OPTIONS.items():
        if name != "--model":
            parser.add_argument(name, **keywords)
    asked = vars(parser.parse_args(words))
    try:
        selection = select(lambda name: asked.get(name[2:].replace("-", "_")), backends.names(), cores())
    except PlanError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    planned = [cell for phase in PHASES for cell in _of_models(selection, phase)]
    good = True
    for made in selection.models:
        print(_title(made.name, made.batch, [cell for cell in planned if cell.workload == made.name]))
        good &= _check([one for one in planned if (one.workload, one.batch) == (made.name, made.batch)])
    return 0 if good else 1


def _of_models(selection: Selection, phase: str) -> list[Cell]:
    names = {made.name for made in selection.models}
    of_phase = cells(selection, phase, backends.names())
    return [cell for cell in of_phase if cell.workload in names and is_verified(cell.backend)]


def _title(name: str, batch: int, of_model: Sequence[Cell]) -> str:
    if not of_model or of_model[0].model_failure is not None:
        return f"{name}: cannot be made"
    workload = of_model[0].load_workload()
    inputs = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in workload.inputs)
    return f"{name}: {workload.parameter_count} parameters, batch {batch}, inputs {inputs}"


def _check(of_model: Sequence[Cell]) -> bool:
    """Prints what comes of the model on each backend, and returns whether each of its phases can be run at all."""
    refused = {cell.phase: why for cell in of_model if (why := cell.load_workload().refused.get(cell.phase))}
    for phase, why in refused.items():
        print(f"  {phase:5} refused: {why}")
    left = [cell for cell in of_model if cell.phase not in refused]
    for backend in dict.fromkeys(cell.backend for cell in left if cell.backend not in ALWAYS):
        mine = [cell for cell in left if cell.backend == backend]
        print(f"  {backend:18} {_said(backend, mine)}", flush=True)
    return not refused


def _said(backend: str, mine: Sequence[Cell]) -> str:
    """Returns in words which phases the backend runs, and why not the others."""
    with TemporaryDirectory(prefix="samestep-check-") as logs:
        adapter = backends.get(backend)
        why = {cell.phase: found for cell in mine if (found := why_not(adapter, probed(adapter), cell))}
        asked = [cell for cell in mine if cell.phase not in why]
        reasons = {phase: str(columns["reason"]) for phase, columns in why.items()} | _missing(asked, Path(logs))
    if len(reasons) == len(mine) and len(set(reasons.values())) == 1:
        return f"no: {next(iter(reasons.values()))}"
    runs = [cell.phase for cell in mine if cell.phase not in reasons]
    return "; ".join([", ".join(runs), *(f"not {phase}: {reason}" for phase, reason in reasons.items())]).strip("; ")


def _missing(asked: Sequence[Cell], logs: Path) -> dict[str, str]:
    """Returns by phase which operators the backend of the cells lacks, in words; of an ONNX file it is not asked."""
    asked = [cell for cell in asked if not isinstance(cell.load_workload().programs[cell.phase], FileProgram)]
    if not asked:
        return {}
    job: dict[str, Any] = {
        "job": "check",
        "adapter": type(backends.get(asked[0].backend)).__module__,
        "cells": [non_defaults(cell) for cell in asked],
        "paths": list(paths()),
        "cpus": None,
    }
    outcome = launch(job, logs / "check.log", asked[0].threads)
    if outcome.status != "ok":
        return {cell.phase: outcome.reason or outcome.status for cell in asked}
    return {phase: f"operator {', '.join(names)}" for phase, names in outcome.result.items() if names}
