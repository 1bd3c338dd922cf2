"""What a cell takes before its child starts, and what came of it: probe, artifacts, job, launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import backends
from backends._outside import in_one_line, unsupported_faults
from backends.base import Adapter, Artifact, Probe
from bench.artifacts import artifacts_for, handed_over, plain_expected, waves, why_no_file
from bench.cell import PLAIN, Cell
from bench.effort import Effort
from bench.parent.cache import Cache, Entry, entry_name
from bench.parent.children.child import Outcome
from bench.parent.children.crew import Crew, makers
from bench.parent.children.group import Group
from bench.parent.children.member import Measured, Ready
from bench.parent.environment import job_paths
from bench.parent.record import Launch, adapter_columns, to_launch, to_row, workload_columns
from host.topology import usable_cpus
from workloads.precision import DEFAULT, PRECISIONS, precision_of
from workloads.recipes.agreement import AGREEMENT
from workloads.recipes.int8 import why_undefined
from workloads.workload import Workload

LEAST_NEED_BYTES, TIMES_HELD = 1 << 30, 6
"""What preparing a step is taken to need beside others: runtime and code, and times its weights and moments."""


class ArtifactError(Exception):
    """An artifact could not be made; `outcome` says how its child ended."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True)
class CellResult:
    """What came out of a cell: its row's columns and its latency samples in seconds, empty without a number."""

    columns: dict[str, Any]
    samples_s: tuple[float, ...]


@dataclass
class Suite:
    """How the cells of one run are run."""

    cache: Cache
    logs: Path
    effort: Effort
    longest_stage_s: float | None = None
    find_adapter: Callable[[str], Adapter] = backends.get
    adapter_paths: tuple[str, ...] = ()
    _failed: dict[str, Outcome] = field(default_factory=dict)
    _lost: dict[tuple[str, int], str] = field(default_factory=dict)

    def run(self, cell: Cell) -> CellResult:
        """Runs `cell` by itself, once, to the row of that one launch; only Ctrl-C and our own faults are raised."""
        launch = self.attempt(cell)
        return CellResult(to_row([launch]), launch.series.get("samples_s", ()))

    def outcome(self, cell: Cell) -> dict[str, Any]:
        """Returns the columns of one launch of `cell`, for whoever asks what it computes and not how fast.

        However disturbed, it counts; one that seemed not to wait is launched once more.
        """
        launch = self.attempt(cell)
        return (self.attempt(cell) if launch.is_doubtful else launch).columns

    def attempt(self, cell: Cell) -> Launch:
        """Launches `cell` by itself, unless it cannot be started, and returns what came of it."""
        ready = self.ready(cell)
        if isinstance(ready, Launch):
            return ready
        group = Group(self.effort, Random(0), self.longest_stage_s)
        return self.concluded(ready, group.run([ready])[cell])

    def ready(self, cell: Cell) -> Launch | Ready:
        """Returns what starts `cell`, its artifacts made; a launch that says why where it cannot be started."""
        workload, adapter = cell.load_workload(), self.find_adapter(cell.backend)
        probe = probed(adapter)
        if cell.phase in workload.refused and (refusal := why_not(adapter, probe, cell)):
            return Launch(cell.columns() | refusal)
        columns = cell.columns() | workload_columns(workload, cell.phase, PRECISIONS.get(cell.precision, DEFAULT))
        columns |= adapter_columns(adapter, probe)
        if cell.overrides.python is not None:  # whose versions its child alone can tell
            columns |= {"library_versions": None, "python_version": None}
        device = (adapter.device_kind, cell.device_index)
        if refusal := why_not(adapter, probe, cell):
            return Launch(columns | refusal)
        if device in self._lost:
            reason = f"its device was lost in an earlier cell: {self._lost[device]}"
            return Launch(columns | _not_started("broken", "device_lost", reason))
        try:
            entries = self.entries(cell, workload, adapter)
        except ArtifactError as error:
            return to_launch(cell, columns, error.outcome, self.effort.is_timed)
        columns |= {name: entries["batches"].made[name] for name in ("workload_digest", "model_digest")}
        columns |= {name: made for name in AGREEMENT if (made := entries["parameters"].made.get(name)) is not None}
        columns["artifacts_s"] = sum(entry.seconds for entry in entries.values())
        side = cell.overrides
        job = {
            "job": "cell",
            "cell": non_defaults(replace(cell, variant=None)),
            "options": dict(side.options),
            "adapter": type(adapter).__module__,
            "paths": [*self.adapter_paths, *job_paths()],
            "entries": {name: str(entry.path) for name, entry in entries.items()},
            "effort": non_defaults(self.effort),
            "cpus": usable_cpus()[: cell.threads],
        }
        log = self.logs / f"{cell.phase}-{cell.id}.log"
        held = columns["weights_bytes"] + (columns["state_bytes"] or 0)
        need = LEAST_NEED_BYTES + TIMES_HELD * held
        fails = self._known_failure(adapter, cell) is not None
        return Ready(cell, columns, job, log, side, adapter.environment, adapter.device_kind, need, fails)

    def concluded(self, ready: Ready, measured: Measured) -> Launch:
        """Returns the launch of a cell that was started, from what came of it."""
        cell, adapter, outcome = ready.cell, self.find_adapter(ready.cell.backend), measured.outcome
        taken = json.loads(outcome.result.get("options") or "{}")
        if outcome.status == "ok" and not ready.side.options.items() <= taken.items():
            reason = f"asked for {dict(ready.side.options)}, its adapter took {taken or 'no options'}"
            outcome = Outcome("refused", outcome.stage, "effective_options", reason, launch_s=outcome.launch_s)
        launched = to_launch(cell, ready.columns, outcome, self.effort.is_timed, measured)
        if launched.columns["reason_code"] == "device_lost":
            self._lost[adapter.device_kind, cell.device_index] = str(launched.columns["reason"])
        failure = self._known_failure(adapter, cell)
        if failure and launched.status not in ("ok", "not_run"):
            declared = {"status": "known_failure", "reason_code": "declared", "reason": failure}
            launched = replace(launched, columns=launched.columns | declared)
        return launched

    def can_start(self, cell: Cell) -> bool:
        """Returns whether a child of the cell may be started at all."""
        adapter = self.find_adapter(cell.backend)
        return why_not(adapter, probed(adapter), cell) is None

    def _known_failure(self, adapter: Adapter, cell: Cell) -> str | None:
        for failure in adapter.known_failures:
            if failure.covers(cell.workload, cell.phase):
                return f"{failure.reason} ({failure.link})"
        return None

    def prepare(self, cells: Iterable[Cell]) -> None:
        """Makes the cache entries that the cells need and that are missing, several at once: nothing is timed yet.

        What cannot be made is said by the rows of its cells.
        """
        wanted: dict[str, tuple[Artifact, Cell, Workload]] = {}
        kinds: dict[str, Artifact] = {}
        for cell in cells:
            if not self.can_start(cell):
                continue
            adapter = self.find_adapter(cell.backend)
            workload = cell.load_workload()
            for artifact in _artifacts(adapter, cell, workload):
                kinds[artifact.name] = max(kinds.get(artifact.name, artifact), artifact, key=lambda one: len(one.needs))
                wanted[_entry_name(artifact, cell, workload)] = (artifact, cell, workload)
            if is_held_against_plain(cell, adapter):
                plain, expected = replace(cell, precision=DEFAULT.name), plain_expected(adapter, workload, cell.phase)
                wanted[_entry_name(expected, plain, workload)] = (expected, plain, workload)
        # What takes longest comes first, so that it does not come last, alone.
        ordered = sorted(wanted.values(), key=lambda one: _cost(one[1], one[2]), reverse=True)
        with Crew(makers()) as crew:
            for wave in waves(kinds.values()):
                names = {artifact.name for artifact in wave}
                crew.run(partial(self._try_entry, *one, crew) for one in ordered if one[0].name in names)

    def _try_entry(self, artifact: Artifact, cell: Cell, workload: Workload, crew: Crew) -> None:
        with suppress(ArtifactError):  # `entries` raises it again, for each cell that needs it
            self._entry(artifact, cell, workload, crew)

    def entries(self, cell: Cell, workload: Workload, adapter: Adapter) -> dict[str, Entry]:
        """Returns the cache entries that the cell needs, made where they are missing. Raises ArtifactError."""
        with Crew(1) as crew:
            kinds = _artifacts(adapter, cell, workload)
            made = handed_over({one.name: self._entry(one, cell, workload, crew) for one in kinds})
            if is_held_against_plain(cell, adapter):
                expected = plain_expected(adapter, workload, cell.phase)
                made[PLAIN] = self._entry(expected, replace(cell, precision=DEFAULT.name), workload, crew)
        return made

    def _entry(self, artifact: Artifact, cell: Cell, workload: Workload, crew: Crew) -> Entry:
        """Returns a cache entry, made in a child of its own where it is missing. A failure is not tried again."""
        adapter = self.find_adapter(cell.backend)
        by_name = {one.name: one for one in _artifacts(adapter, cell, workload)}
        needed = {name: self._entry(by_name[name], cell, workload, crew) for name in artifact.needs}
        name = _entry_name(artifact, cell, workload)
        if name in self._failed:
            raise ArtifactError(self._failed[name])

        def make(folder: Path) -> dict[str, Any]:
            phase = "" if artifact.is_shared else f" ({cell.phase})"
            title = f"the {artifact.name} of {workload.name} {workload.size}{phase}"
            self.cache.say(f"making {title} …")
            job = {
                "job": "artifact",
                "name": artifact.name,
                "maker": artifact.maker,
                "cell": non_defaults(replace(cell, variant=None)),
                "folder": str(folder),
                "inputs": {name: str(entry.path) for name, entry in handed_over(needed).items()},
                "cpus": None,
                "paths": list(job_paths()),
            }
            log = self.logs / f"{artifact.name}-{cell.workload}-{cell.phase}.log"
            outcome = crew.launch(job, log, crew.threads_each, self.longest_stage_s)
            if outcome.status != "ok":
                if outcome.status == "broken":
                    outcome.status = "error"
                outcome.stage = "artifacts"
                self._failed[name] = outcome
                raise ArtifactError(outcome)
            why = f": {said}" if (said := outcome.result.pop("said", "")) else ""
            self.cache.say(f"… made {title} in {outcome.result['seconds']:.1f} s{why}")
            return outcome.result

        try:
            return self.cache.ensure(name, make)
        except OSError as error:
            reason = f"the cache {self.cache.root} cannot be used: {error}"
            raise ArtifactError(Outcome("error", "artifacts", "artifact_failed", reason)) from error


def _refused(cell: Cell) -> dict[str, Any] | None:
    """Returns the columns of a cell whose model, a user's own, is refused in its phase, or None."""
    why = cell.load_workload().refused.get(cell.phase)
    return None if why is None else _not_started("error", "model_refused", why)


def why_not(adapter: Adapter, probe: Probe, cell: Cell) -> dict[str, Any] | None:
    """Returns the columns of a cell that need not be started, or None."""
    if probe.status != "absent" and (refused := _refused(cell)):
        return refused
    try:
        unsupported = adapter.why_unsupported(cell.phase, cell.precision)
        faults = unsupported_faults(unsupported)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of strangers raises whatever it likes
        unsupported, faults = None, [f"why_unsupported(): {in_one_line(error)}"]
    if faults:
        return _not_started("broken", "start_failed", faults[0])
    program = cell.load_workload().programs[cell.phase]
    unsupported = why_no_file(adapter, program, cell.precision) or unsupported
    undefined = why_undefined(program, PRECISIONS.get(cell.precision, DEFAULT))
    if unsupported:
        status, (code, reason) = "unsupported", unsupported
    elif undefined:
        status, code, reason = "unsupported", "precision_not_supported", undefined
    elif probe.status == "absent":
        status, code, reason = "unavailable", probe.reason_code, probe.reason
    elif probe.status == "broken":
        status, code, reason = "broken", probe.reason_code, probe.reason
    else:
        return None
    return _not_started(status, code, reason)


def non_defaults(record: Cell | Effort) -> dict[str, Any]:
    """Returns the fields that are not their defaults: another checkout (`--ab tree=…`) may be older than a field."""
    return {field.name: value for field in fields(record) if (value := getattr(record, field.name)) != field.default}


def is_held_against_plain(cell: Cell, adapter: Adapter) -> bool:
    """Returns whether the cell must lie away from what float32 computes too: that of a reduced precision."""
    return adapter.verifiable and precision_of(cell.precision).is_lower


def _not_started(status: str, code: str, reason: str) -> dict[str, Any]:
    return {"status": status, "stage": "plan", "reason_code": code, "reason": reason}


def _artifacts(adapter: Adapter, cell: Cell, workload: Workload) -> tuple[Artifact, ...]:
    return artifacts_for(adapter, precision_of(cell.precision), workload.programs[cell.phase])


def _entry_name(artifact: Artifact, cell: Cell, workload: Workload) -> str:
    return entry_name(artifact, workload, cell.phase, precision_of(cell.precision))


def _cost(cell: Cell, workload: Workload) -> tuple[bool, int]:
    """Returns what sorts artifacts by how long they take: those of training steps take longest."""
    return workload.programs[cell.phase].update is not None, workload.parameter_count


@cache
def probed(adapter: Adapter) -> Probe:
    """Returns what the adapter's probe says, asked once per process."""
    return backends.probe(adapter)
