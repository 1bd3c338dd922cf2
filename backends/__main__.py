"""`python -m backends`: which adapters exist, which can run here, and why not the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import backends
from backends._kinds import kinds
from backends.base import Adapter, Probe


def describe(adapter: Adapter, probe: Probe) -> str:
    """Returns the lines about one adapter: status, device, versions, what it supports, or what to do."""
    supports = f"{', '.join(adapter.phases)} in {', '.join(adapter.precisions)}"
    lines = [f"{adapter.name:18} {probe.status:8} {probe.device or '-'}"]
    if probe.version:
        lines.append(f"{'':18} {probe.version}")
    lines.append(f"{'':18} {supports}" if probe.status == "usable" else f"{'':18} {probe.reason}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every adapter; with `--check` starts each usable one. Returns 1 where one is broken."""
    parser = argparse.ArgumentParser(prog="python -m backends", description=__doc__)
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
            broken |= not _check(name)
    for claim in backends.outside():
        if claim.refused and not options.names:
            print(f"{claim.name:18} {'broken':8} -\n{'':18} {claim.module} of {claim.package}: {claim.refused}")
            broken = True
    return int(broken)


def _check(name: str) -> bool:
    """Prints what starting the backend gives, one line per phase, and returns whether all went well.

    It goes through the suite's own door, in a process of its own: this room knows nothing of `bench`.
    """
    import subprocess
    from pathlib import Path

    checker = Path(__file__).resolve().parent.parent / "bench" / "check.py"
    return subprocess.run([sys.executable, "-P", str(checker), name], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
