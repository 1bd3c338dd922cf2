"""The options of a run, and what they mean: which cells, in what order, how long. Refused before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import backends
from bench.effort import ONE_STEP, Effort
from bench.parent.header import ROOT, new_header
from bench.parent.own import asked
from bench.parent.own.made import DIGESTS
from bench.parent.plans import plan, scenarios, services, training
from bench.parent.plans.parse import PlanError, number, words
from bench.parent.plans.presets import PRESETS
from bench.parent.plans.sides import PAIRS
from host.machine import describe_machine
from host.topology import usable_cpus
from results.record.peaks import published
from results.record.run import Run, read_run
from workloads.catalog import CATALOG, DECODING, SUITES, phases
from workloads.precision import DEFAULT, PRECISIONS

Getter = Callable[[str], Any]
"""Returns what was given for an option, None where nothing was: `option("--workloads")`."""


def options() -> Mapping[str, Mapping[str, Any]]:
    """Returns the options by name, each with what `argparse` needs to know of it."""

    def text(metavar: str, words: str) -> Mapping[str, Any]:
        return {"metavar": metavar, "help": words}

    def flag(words: str) -> Mapping[str, Any]:
        return {"action": "store_true", "default": None, "help": words}

    return {
        "--backends": text("LIST", f"backends that must run here, of: {', '.join(backends.names())}"),
        "--workloads": text("LIST", f"workloads, of: {', '.join(CATALOG)}"),
        "--phases": text("LIST", f"phases, of: {', '.join(phases())}"),
        "--precision": text("LIST", f"precisions, of: {', '.join(PRECISIONS)} (default: {DEFAULT.name})"),
        "--batch": text("LIST", "samples per step; `max`, `max:N`: doubled while that gains 5 %% (docs/measuring.md)"),
        "--sequence": text("LIST", "tokens per sample, for language models"),
        "--depth": text("LIST", f"tokens that decode steps have before them and with them, for {', '.join(DECODING)}"),
        "--generated-tokens": text("LIST", "tokens that a generation has behind its prompt of --sequence tokens"),
        **training.OPTIONS,
        "--suite": text("LIST", f"suites of workloads, of: {', '.join(SUITES)} (default: {next(iter(SUITES))})"),
        "--preset": text("NAME", f"one of: {', '.join(PRESETS)} (default: quick)"),
        "--threads": text("N", "threads for each backend (default: all physical cores)"),
        "--device": text("N", "which of the machine's devices of each kind, from 0; the CPU is device 0"),
        "--launches": text("N", "fresh processes per cell (default: the preset's)"),
        "--ab": {**text("SIDE", "two settings in pairs: `base`, or KEY=VALUE,… (docs/measuring.md)"), "nargs": 2},
        "--pairs": text("N", f"pairs of launches of --ab (default: {PAIRS})"),
        "--order-seed": text("SEED", "launch in the order of another run, whose seed this is"),
        "--weights": text("NAME=PATH", "safetensors files of public models, of the preset's size"),
        "--results-dir": text("DIR", "where runs are kept (default: results/runs)"),
        "--baseline": text("NAME", "backend that the table's ratios refer to"),
        "--stage-deadline": text("SECONDS", "end any stage of a child that takes longer"),
        "--time-budget": text("MINUTES", "begin no cell once the run has taken so long"),
        "--fail-on-disturbed": flag("fail where the machine did not let a cell be measured, and do not only say so"),
        "--operators": flag("last of all, time by kind of operator"),
        "--parts": flag("take apart also steps whose parts are compiled for it"),
        "--resume": text("RUN", "go on with an interrupted run: its folder, and no other choice"),
        **asked.OPTIONS,
        **services.OPTIONS,
    }


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is done, beside which cells it has."""

    effort: Effort
    order_seed: str
    results_dir: Path = ROOT / "results" / "runs"
    stage_deadline_s: float | None = None
    time_budget_s: float = inf
    arguments: tuple[str, ...] = ()
    """The command line, for the header."""
    fails_on_disturbed: bool = False
    """Whether the run fails where a cell was disturbed each time."""
    baseline: str | None = None
    """The backend that ratios refer to: every part of a group that does not fit into memory has it."""
    stops_at_failure: bool = False
    """Whether nothing of a group is timed once one of its cells has failed: what `-x` says."""
    past: Run | None = None
    """The interrupted run that this one goes on with."""


def select(option: Getter) -> plan.Selection:
    """Returns what the options plan on this machine. Raises PlanError."""
    return scenarios.served(plan.select(option, backends.names(), cores()), option)


def cores() -> int:
    """Returns how many cores a child may use: physical ones, of those that affinity and quota leave to us."""
    of_quota = describe_machine()["usable_cores"]
    return min(len(usable_cpus()), of_quota) if isinstance(of_quota, int) else len(usable_cpus())


def choose(option: Getter, arguments: Sequence[str] = ()) -> tuple[plan.Selection, Settings]:
    """Returns what to run and how, from the options. Raises PlanError or ResultsError, before anything runs."""
    past = interrupted_run(option)
    selection = select(option if past is None else past.header["options"]["selection"].get)
    _check_models(past, selection)
    planned = plan.chosen_backends(selection, backends.names())
    baseline = option("--baseline")
    if baseline is not None and words(baseline, "--baseline", backends.names()) not in [(name,) for name in planned]:
        raise PlanError(f"--baseline takes one backend of the run, got {baseline!r}; it has {', '.join(planned)}")
    published("", "")  # raises now where the table of peaks cannot be used
    deadline = number(option("--stage-deadline"), "--stage-deadline")
    minutes = number(option("--time-budget"), "--time-budget")
    results_dir = option("--results-dir")
    settings = Settings(
        effort=effort(selection, option, past),
        order_seed=option("--order-seed") or os.urandom(4).hex()
        if past is None
        else past.header["options"]["order_seed"],
        stage_deadline_s=None if deadline is None else float(deadline),
        time_budget_s=inf if minutes is None else 60.0 * minutes,
        arguments=tuple(arguments),
        fails_on_disturbed=bool(option("--fail-on-disturbed")),
        baseline=baseline,
        past=past,
    )
    return selection, settings if not results_dir else replace(settings, results_dir=Path(results_dir).absolute())


def _check_models(past: Run | None, selection: plan.Selection) -> None:
    """Raises PlanError where a run that goes on has other models of the user's than it began with."""
    before = {} if past is None else past.header["options"]["selection"].get(DIGESTS) or {}
    now = selection.chosen[DIGESTS]
    if changed := [name for name, digest in before.items() if now.get(name) != digest]:
        raise PlanError(f"--resume: {', '.join(changed)} is another model than when the run began; start a new run")


def effort(selection: plan.Selection, option: Getter, past: Run | None = None) -> Effort:
    """Returns the preset's effort with what was chosen; that of the interrupted run where it goes on."""
    if past is not None:
        return Effort(**past.header["options"]["effort"])
    chosen = replace(PRESETS[selection.preset].effort, operators=bool(option("--operators")))
    if option("--parts"):
        return replace(chosen, parts="all")
    return replace(chosen, parts="none") if option("--ab") else chosen


def verified_only(chosen: Effort) -> Effort:
    """Returns the effort without time to measure in."""
    return replace(ONE_STEP, operators=chosen.operators, parts=chosen.parts)


def interrupted_run(option: Getter) -> Run | None:
    """Returns the run that `--resume` names. Raises PlanError or ResultsError where it cannot go on here."""
    path = option("--resume")
    if path is None:
        return None
    decided = (*plan.CHOICES, "results-dir", "order-seed", "operators", "parts")
    if others := [f"--{name}" for name in decided if option(f"--{name}") is not None]:
        raise PlanError(f"--resume takes what to run from the run itself; leave out {', '.join(others)}")
    run = read_run(Path(path).absolute())
    if run.header["journal_format"] < 2:
        raise PlanError(f"{path} was written by a samestep whose runs cannot go on; start a new one")
    now, before = new_header(), run.header
    of_machine = [("machine", f"{kind}_id") for kind in ("machine", "installation", "software")]
    same = (*of_machine, ("versions", "samestep"), ("versions", "method"))
    changes = [
        f"{name} was {before[part].get(name)} and is {now[part].get(name)}"
        for part, name in same
        # Older runs have no id of the installation.
        if before[part].get(name, now[part].get(name)) != now[part].get(name)
    ]
    if changes:
        changed = "; ".join(changes)
        raise PlanError(f"--resume {path}: not the same machine and software any more ({changed}); start a new run")
    return run
