"""Which adapters exist, which can run here, and why not the others: what `samestep backends` prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import backends
from backends._arithmetic import OF_CHIP, cpu_has
from backends._kinds import kinds
from backends.base import Adapter, Probe
from workloads.catalog import phases
from workloads.precision import CODES_TYPE, FLOAT32, PRECISIONS, Precision


def describe(adapter: Adapter, probe: Probe) -> str:
    """Returns the lines about one adapter: status, device, versions, what it supports, or what to do."""
    supports = f"{', '.join(adapter.phases or phases())} in {in_precisions(adapter)}"
    lines = [f"{adapter.name:18} {probe.status:8} {probe.device or '-'}"]
    if probe.version:
        lines.append(f"{'':18} {probe.version}")
    lines.append(f"{'':18} {supports}" if probe.status == "usable" else f"{'':18} {probe.reason}")
    return "\n".join(lines)


def in_precisions(adapter: Adapter) -> str:
    """Returns its precisions, each with who computes it: the chip and the runtime, or the runtime in a wider type."""
    return " · ".join(_in_one(adapter, name) for name in adapter.precisions)


def _in_one(adapter: Adapter, name: str) -> str:
    precision = PRECISIONS.get(name)
    if not _is_able(adapter, name):
        if precision and adapter.device_kind == "cpu" and not cpu_has(precision.multiplied):
            return f"no {name} (it takes {_flags_for(precision.multiplied)})"
        return f"no {name}"
    return _who_computes(adapter, precision) if precision else name


def _flags_for(type_name: str) -> str:
    return " or ".join(OF_CHIP[type_name][:2])


def _is_able(adapter: Adapter, precision: str) -> bool:
    """Returns whether it can run any phase in a precision that it declares: on this chip, that is."""
    try:
        return not all(adapter.why_unsupported(phase, precision) for phase in adapter.phases or phases())
    except Exception:  # noqa: BLE001 - code of strangers raises whatever it likes; its cells say so
        return True


def _who_computes(adapter: Adapter, precision: Precision) -> str:
    if precision.multiplied == FLOAT32:
        return precision.name
    if why := adapter.emulates.get(precision.name):
        return f"{precision.name} emulated ({why})"
    if adapter.device_kind == "cpu" and not cpu_has(precision.multiplied):
        without = _flags_for(precision.multiplied)
        # Every CPU multiplies small integers; those with VNNI sum them in one instruction.
        how = f"native, without {without}" if precision.multiplied == CODES_TYPE else f"emulated (no {without})"
        return f"{precision.name} {how}"
    return f"{precision.name} native"


def main(arguments: Sequence[str], prog: str, check: Callable[[str], bool]) -> int:
    """Prints every adapter, or those named. Returns 1 where one is broken.

    With `--check`, `check` starts each usable one, prints what that gives, and returns whether all went well: starting
    is not for this room to know, so whoever opens it brings the check along.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these backends")
    parser.add_argument(
        "--kinds",
        action="store_true",
        help="only the kinds of machine: tox environment, torch build, extras and backends of each",
    )
    parser.add_argument("--check", action="store_true", help="start each in a child process and run one tiny step")
    options = parser.parse_args(arguments)
    if options.kinds:
        for kind in kinds():
            torch = "cpu-torch" if kind.cpu_torch else "own-torch"
            print(kind.name, kind.environment, torch, ",".join(kind.extras), ",".join(kind.backends))
        return 0
    for name in options.names:
        if name not in backends.names():
            parser.error(f"unknown backend {name!r}; known: {', '.join(backends.names())}{backends.why_refused(name)}")
    broken = False
    for name in options.names or backends.names():
        adapter = backends.get(name)
        probe = backends.probe(adapter)
        print(describe(adapter, probe), flush=True)
        broken |= probe.status == "broken"
        if options.check and probe.status == "usable":
            broken |= not check(name)
    for claim in backends.outside():
        if claim.refused and not options.names:
            print(f"{claim.name:18} {'broken':8} -\n{'':18} {claim.module} of {claim.package}: {claim.refused}")
            broken = True
    return int(broken)
