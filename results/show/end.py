"""What is shown when a run has ended: its table, or the pairs of its A/B."""

import warnings
from pathlib import Path

from results.record.run import read_run
from results.show.pairs import render_pairs
from results.show.render import render
from results.tables.pairs import pairs_of
from results.tables.table import load


def shown_at_the_end(folder: Path, baseline: str | None, width: int) -> str:
    """Returns what a person reads of the run in `folder`, and before it what was forgiven in reading it."""
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        frame = load(folder)
    run = read_run(folder)
    is_ab = bool(run.header["options"].get("selection", {}).get("--ab"))
    table = render_pairs(pairs_of(run), width) if is_ab else render(frame, baseline, width=width)
    return "\n".join([*(str(problem.message) for problem in problems), table, "", f"rows: {folder / 'results.csv'}"])
