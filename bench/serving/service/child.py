"""The process that sends a run's requests to a service, so that nothing else of the run is in their times.

Started by `bench.parent.services` as a file, `python -P child.py PARENT_PID`, with its job as a line on stdin; writes
the columns of the row as a line of JSON on stdout. The key is in its environment, and nowhere else.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Measures, and returns 0: what came of it is in the row."""
    from bench.child.worker import die_with
    from bench.service_cell import ServiceCell
    from bench.serving.service.measure import measure

    die_with(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the key
    row = measure(ServiceCell.from_job(json.loads(sys.stdin.readline())))
    print(json.dumps(row, allow_nan=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
