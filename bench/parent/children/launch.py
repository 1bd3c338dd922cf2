"""One child from its start to its end, for what is made and not timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cell import Variant
from bench.parent.children.child import Child, Outcome, wait_for


def launch(
    job: Mapping[str, Any],
    log: Path,
    threads: int,
    longest_stage_s: float | None = None,
    on_start: Callable[[int], None] | None = None,
    side: Variant | None = None,
    asked: Sequence[str] = (),
) -> Outcome:
    """Runs `job` in a fresh interpreter and returns how it ended; it never raises for what the child does.

    `on_start(pid)` is called once the child exists; the others are as `Child` has them. Whatever happens here, Ctrl-C
    included, no child is left.
    """
    with Child(job, log, threads, longest_stage_s, side, asked) as child:
        if on_start is not None:
            on_start(child.pid)
        wait_for([child])
    return child.outcome
