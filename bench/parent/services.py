"""What a run puts under a load: services and steps of this machine, last of all, each with its row in the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.parent import verdict
from bench.parent.environment import ROOT, child_environment
from bench.parent.scenarios import Scenarios
from bench.scenario_cell import Loaded, ScenarioCell
from bench.service_cell import ServiceCell
from results.record.journal import Journal
from results.record.row import Row
from results.record.services.row import make_service_row

CHILD = Path("bench", "serving", "service", "child.py")
DEADLINE_S = 6 * 3600.0
"""Each request has a deadline of its own; this ends a client that hangs."""
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Which authorities are trusted: variables of OpenSSL that the client is given beside the key's."""
SKIPPED = ("unsupported", "not_run")
"""Statuses that are nobody's failure."""


@dataclass
class Services:
    """The services that a run measures, and their rows."""

    journal: Journal
    common: Mapping[str, Any]
    """The columns that all rows of the run share."""
    say: Callable[[str], None]
    deadline_s: float = DEADLINE_S
    scenarios: Scenarios | None = None
    """The steps of this machine among them."""
    asked: Collection[str] = ()
    """Backends asked for by name: they must not be absent."""

    def planned(self, cell: Loaded) -> dict[str, Any]:
        """Returns what the plan says of a service."""
        return {**cell.columns(), **self.common}

    def measure(self, cell: Loaded) -> Row:
        """Returns the row of a service or of a step under a load, which is on disk."""
        self.say(cell.title)
        if isinstance(cell, ScenarioCell):
            assert self.scenarios is not None
            columns = self.scenarios.columns_of(cell)
        else:
            columns = measured(cell, self.journal.logs / "services.log", self.deadline_s)
        row = make_service_row(**{**columns, **self.common})
        self.journal.service(row)
        self.say(f"    {row['status']}{_in_words(row)}")
        return row

    def fails(self, cell: Loaded, row: Mapping[str, object]) -> bool:
        """Returns whether the row is a failure of a run: a service that was asked for by its URL must be there."""
        if isinstance(cell, ScenarioCell):
            return verdict.fails(str(row["status"]), cell.cell.backend in self.asked)
        return row["status"] != "ok" and row["status"] not in SKIPPED


def measured(cell: ServiceCell, log: Path, deadline_s: float) -> dict[str, Any]:
    """Returns the columns of a service's row, from a process that ends with this one. Its output goes to `log`."""
    asked = (cell.key_variable, *CERTIFICATES)
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [sys.executable, "-P", str(ROOT / CHILD), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=child_environment(os.environ, 1, asked),
            start_new_session=True,
        ) as process,
    ):
        try:
            said, _ = process.communicate(json.dumps(cell.job()).encode() + b"\n", timeout=deadline_s)
        except subprocess.TimeoutExpired:
            return _without(cell, "timeout", f"our client did not end within {deadline_s:g} s")
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode < 0:
        return _without(cell, "crashed", f"our client ended by {signal.Signals(-process.returncode).name}; see {log}")
    if process.returncode or not said:
        return _without(cell, "error", f"our client ended with status {process.returncode}; {log} says why")
    row: dict[str, Any] = json.loads(said)
    return row


def _without(cell: ServiceCell, status: str, reason: str) -> dict[str, Any]:
    return {**cell.columns(), "status": status, "reason": reason}


def _in_words(row: Mapping[str, object]) -> str:
    if row["status"] != "ok":
        return f": {row['reason']}"
    first, rate, whole = row["ttft_s_p50"], row["output_tokens_per_s"], row["e2e_s_p50"]
    told = [
        f" in {1e3 * whole:.4g} ms" if isinstance(whole, float) and first is None else "",
        f", first token {1e3 * first:.4g} ms" if isinstance(first, float) else "",
        f", {rate:.4g} tokens/s" if isinstance(rate, float) else "",
        f"; failed: {row['failures']}" if row["failures"] else "",
    ]
    return "".join(told)
