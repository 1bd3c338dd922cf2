"""Adapters of other packages: found by their entry points, and contained where they do not keep the rules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from backends.base import PRESETS, Adapter, Artifact, KnownFailure, Probe, Request, Setting, Step
from workloads.catalog import phases
from workloads.precision import DEFAULT

GROUP = "samestep.backends"
NAME = re.compile(r"[a-z0-9_]+", re.ASCII)
PROBE_STATUSES = ("usable", "absent", "broken")
PROBE_CODES = ("not_installed", "no_device", "wrong_platform", "import_failed", "start_failed")
"""The reason codes that a probe may give: those of a row that say why nothing was started."""
OVERLAPS = ("all", "stateless", "none")
RENAMED = {
    "serial_phases": 'overlap = "all", "stateless" or "none"',
    "needs_graph": "artifacts = (samestep.ONNX,)",
}
"""Class attributes of the first edition, and what stands in their place."""
UNSUPPORTED_CODES = ("phase_not_supported", "precision_not_supported")
"""The reason codes that `why_unsupported` may give."""


@dataclass(frozen=True)
class Claim:
    """An entry point: `package` says that `module` declares the backend `name`. `refused` says why it has no cells."""

    name: str
    module: str
    package: str
    refused: str = ""


def claims(ours: Sequence[str]) -> tuple[Claim, ...]:
    """Returns all claims of installed packages, those refused whose name cannot be a backend's beside `ours`."""
    packages = {(e.name, e.value): e.dist.name if e.dist else "a package" for e in entry_points(group=GROUP)}
    times = Counter(name for name, _ in packages)
    made = []
    for (name, module), package in sorted(packages.items()):
        refused = ""
        if not NAME.fullmatch(name):
            refused = f"its name must consist of a-z, 0-9 and _, got {name!r}"
        elif name in ours:
            refused = f"samestep has a backend {name!r} of its own; choose another name"
        elif times[name] > 1:
            refused = f"{times[name]} entry points are called {name!r}; uninstall all but one"
        made.append(Claim(name, module, package, refused))
    return tuple(made)


class BrokenAdapter(Adapter):
    """Stands in for an adapter that cannot be used: its probe says why, and its cells are `broken`."""

    device_kind = "none"

    def __init__(self, name: str, reason: str) -> None:
        self._name = name
        self.reason = reason

    @property
    def name(self) -> str:
        return self._name

    def probe(self) -> Probe:
        return Probe("broken", reason=self.reason, reason_code="import_failed")

    def why_unsupported(self, phase: str, precision: str) -> None:
        """Nothing is known of what it supports."""

    def load(self, setting: Setting) -> None:
        raise RuntimeError(self.reason)

    def prepare(self, request: Request) -> Step:
        raise RuntimeError(self.reason)


def contained(claim: Claim, load: Callable[[str], Adapter]) -> Adapter:
    """Returns the adapter that `claim` names, a `BrokenAdapter` where it raises or does not declare itself well."""
    origin = f"{claim.module} of {claim.package}"
    if not re.fullmatch(r"\w+(\.\w+)*", claim.module):
        return BrokenAdapter(claim.name, f"{origin} is not the name of a module")
    try:
        adapter = load(claim.module)
        faults = declaration_faults(adapter)
        if not faults and adapter.name != claim.name:
            faults = [
                f"the adapter calls itself {adapter.name!r} and its entry point {claim.name!r}: "
                f"name the module so, or set the class attribute `name`"
            ]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of strangers raises whatever it likes
        return BrokenAdapter(claim.name, f"{origin}: {in_one_line(error)}")
    return BrokenAdapter(claim.name, f"{origin}: {'; '.join(faults)}") if faults else adapter


def declaration_faults(adapter: Adapter) -> list[str]:
    """Returns what is wrong with the class attributes of `adapter`, in words; nothing where all is well.

    Only an adapter of this folder may go without verification: `null`, and a test says that it is the only one.
    """
    faults = []
    name: object = adapter.name  # whatever its types say
    kind: object = getattr(adapter, "device_kind", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        faults.append(f"name must consist of a-z, 0-9 and _, got {name!r}")
    if not isinstance(kind, str) or not kind:
        faults.append(f"device_kind must be the kind of device that effective() names, got {kind!r}")
    verifiable: object = adapter.verifiable
    if verifiable is not True and type(adapter).__module__.rpartition(".")[0] != __package__:
        faults.append(f"verifiable must be True: a step that is not verified has no number; got {verifiable!r}")
    faults += [f"{old} is {new} since 0.2" for old, new in RENAMED.items() if hasattr(adapter, old)]
    for attribute in ("phases", "precisions", "distributions", "environment", "presets"):
        value: object = getattr(adapter, attribute)
        if attribute != "phases" or value is not None:
            faults += _name_faults(attribute, value)
    overlap: object = adapter.overlap
    if overlap not in OVERLAPS:
        faults.append(f"overlap must be one of {', '.join(OVERLAPS)}, got {overlap!r}")
    artifacts: object = adapter.artifacts
    if not isinstance(artifacts, tuple) or not all(isinstance(artifact, Artifact) for artifact in artifacts):
        faults.append(f"artifacts must be a tuple of Artifact, got {artifacts!r}")
    options: object = adapter.options
    if not isinstance(options, Mapping) or not all(
        isinstance(name, str)
        and NAME.fullmatch(name)
        and isinstance(values, tuple)
        and values
        and all(isinstance(value, str) for value in values)
        for name, values in options.items()
    ):
        faults.append(f"options must give each name a tuple of str, the default first; got {options!r}")
    named: object = adapter.workloads
    if named is not None and not (isinstance(named, tuple) and named and all(isinstance(word, str) for word in named)):
        faults.append(f"workloads must be None or a tuple of names, got {named!r}")
    failures: object = adapter.known_failures
    if not isinstance(failures, tuple) or not all(isinstance(failure, KnownFailure) for failure in failures):
        faults.append(f"known_failures must be a tuple of KnownFailure, got {failures!r}")
    return faults


def _name_faults(attribute: str, value: object) -> list[str]:
    """Returns what is wrong with a tuple of names."""
    allowed = {"phases": phases(), "presets": PRESETS}.get(attribute)
    if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
        return [f"{attribute} must be a tuple of str, got {value!r}"]
    if allowed is not None and not set(value) <= set(allowed):
        return [f"{attribute} must be of {', '.join(allowed)}, got {value!r}"]
    if attribute in ("phases", "precisions") and (not value or not all(map(NAME.fullmatch, value))):
        return [f"{attribute} must name at least one, in a-z, 0-9 and _, got {value!r}"]
    if attribute == "precisions" and DEFAULT.name not in value:
        return [f"precisions must include {DEFAULT.name}: what runs in another one is held against it; got {value!r}"]
    return []


def probe_faults(probe: object) -> list[str]:
    """Returns what is wrong with the answer of a probe, in words; nothing where all is well."""
    if not isinstance(probe, Probe):
        return [f"probe() must return a Probe, got {probe!r}"]
    if probe.status not in PROBE_STATUSES:
        return [f"a Probe's status is one of {', '.join(PROBE_STATUSES)}, got {probe.status!r}"]
    if probe.status != "usable" and not (probe.reason and probe.reason_code in PROBE_CODES):
        codes = ", ".join(PROBE_CODES)
        return [f"a Probe that is {probe.status} has a reason and a reason_code of {codes}, got {probe!r}"]
    return []


def probe_contained(adapter: Adapter) -> Probe:
    """Returns what the adapter's probe says, `broken` where it raises or returns something else."""
    try:
        probe = adapter.probe()
        faults = probe_faults(probe)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of strangers raises whatever it likes
        return Probe("broken", reason=f"probe(): {in_one_line(error)}", reason_code="start_failed")
    return Probe("broken", reason=faults[0], reason_code="start_failed") if faults else probe


def unsupported_faults(answer: object) -> list[str]:
    """Returns what is wrong with an answer of `why_unsupported`, in words; nothing where all is well."""
    if answer is None:
        return []
    if isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(word, str) and word for word in answer):
        code, reason = answer
        if code in UNSUPPORTED_CODES and reason.strip():
            return []
    codes = " or ".join(UNSUPPORTED_CODES)
    return [f"why_unsupported() must return None or ({codes}, a reason), got {answer!r}"]


def in_one_line(error: BaseException) -> str:
    """Returns the error's type and the first words of its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
