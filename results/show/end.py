"""What is shown when a run has ended: its table, or the pairs of its A/B."""

from results.record.run import Run
from results.record.services.csvfile import CSV_NAME
from results.show.pairs import render_pairs
from results.show.precisions_text import precisions_text
from results.show.render import render
from results.show.services.text import services_text
from results.tables.pairs import pairs_of
from results.tables.precisions import precisions
from results.tables.table import to_frame


def shown_at_the_end(run: Run, baseline: str | None, width: int) -> str:
    """Returns what a person reads of the run, and before it what was forgiven in reading it."""
    is_ab = bool(run.header["options"].get("selection", {}).get("--ab"))
    frame = to_frame(run.rows)
    table = render_pairs(pairs_of(run), width) if is_ab else render(frame, baseline, width=width)
    services = services_text(run.services, width, baseline)
    if services and not run.rows:
        return "\n".join([*run.problems, services, "", f"rows: {run.path / CSV_NAME}"])
    found = precisions(frame)
    brought = [] if is_ab or found.empty else ["", precisions_text(found, width)]
    brought += ["", services] if services else []
    return "\n".join([*run.problems, table, *brought, "", f"rows: {run.path / 'results.csv'}"])
