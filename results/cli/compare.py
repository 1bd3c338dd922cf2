"""samestep compare: two runs, two machines, many of each; exit status for CI."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.cli.common import FailOnMet, add_outputs, rows_and_services, rows_of, width, write_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from results.record.row import Row
    from results.tables.spread import Known

FAIL_ON = ("slower", "unclear", "not comparable")
BOTH, MOST_BESIDE = 2, 20
"""The sides of a comparison; so many runs of a folder at most say how runs vary."""
TITLES = {"latency_p50_s": "latency", "throughput_samples_per_s": "throughput"}


def add_commands(commands: Any) -> None:
    """Adds the command to a parser's subparsers."""
    parser = commands.add_parser("compare", help="two sides cell by cell: ratio, interval, verdict")
    parser.set_defaults(made_by=_compare)
    parser.add_argument("before", metavar="BEFORE", type=Path, nargs="?", help="a run, a CSV, or a folder of runs")
    parser.add_argument("after", metavar="AFTER", type=Path, nargs="?", help="the run or runs to compare with BEFORE")
    parser.add_argument("--runs", metavar="RUN", type=Path, nargs="+", help="with --by: the runs of all sides")
    parser.add_argument(
        "--by", metavar="COLUMN", help="the sides are what differs in it, such as machine, threads or software_id"
    )
    parser.add_argument("--baseline", metavar="VALUE", help="with --by: the side that the others are compared with")
    parser.add_argument(
        "--across", metavar="LIST", default="", help="compare although they differ in precision, threads, backend …"
    )
    parser.add_argument("--metric", metavar="COLUMN", action="append", help="default: latency and throughput")
    parser.add_argument(
        "--spread",
        metavar="SHARE",
        type=float,
        help="assumed from run to run (default: that of the runs beside these, else 0.03; 0.08 where degraded)",
    )
    parser.add_argument(
        "--fail-on", metavar="LIST", default="", help=f"exit status 1 if a verdict is one of: {', '.join(FAIL_ON)}"
    )
    add_outputs(parser)


def _compare(options: argparse.Namespace) -> str:
    """Returns the text of `compare`, after writing its files; raises FailOnMet where --fail-on says so."""
    fail_on = [word.strip() for word in options.fail_on.split(",") if word.strip()]
    if unknown := [word for word in fail_on if word not in FAIL_ON]:
        raise ValueError(f"--fail-on {', '.join(unknown)}: expected some of: {', '.join(FAIL_ON)}")
    across = [name.strip() for name in options.across.split(",") if name.strip()]
    metrics = list(dict.fromkeys(options.metric or ()))

    import pandas as pd

    from results.record.dimensions import ACROSS
    from results.tables.compare import METRICS, compare, sides_of
    from results.tables.table import is_control

    services: list[Sequence[Row]] = []
    sides = _sides(options, sides_of, services)
    of_services = _services(services, across) if services else ""
    if of_services and all(side.empty for side in sides.values()):
        return of_services
    if options.by in ACROSS and options.by not in across:
        across.append(options.by)
    (baseline, before), *others = sides.items()
    blocks, frames = [], []
    for name, after in others:
        spread = _known(options, after) if options.spread is None else options.spread
        compared = compare(before, after, metrics=metrics or METRICS, across=across, spread=spread)
        frames.append(compared.assign(baseline=baseline, compared=name))
        blocks.append(render_comparison(compared, f"{name} against {baseline}", width()))
    comparisons = pd.concat(frames, ignore_index=True)
    write_outputs(comparisons, options)
    text = "\n\n".join([*blocks, LEGEND, *([of_services] if of_services else [])])
    answers = comparisons[~is_control(comparisons)]
    if fail_on and answers["ratio"].isna().all() and "not comparable" not in fail_on:
        print(text)
        raise ValueError(f"--fail-on {', '.join(fail_on)} has no answer: no cell could be compared")
    if set(fail_on) & set(answers["verdict"]):
        raise FailOnMet(text)
    return text


def _services(services: Sequence[Sequence[Row]], across: list[str]) -> str:
    """Returns the services of both sides compared, in words; nothing where neither has any."""
    from results.show.services.text import compared_text
    from results.tables.services.compare import compared

    before, after = services
    if not (before or after):
        return ""
    return compared_text(compared(before, after, across), width()) or "No service is the same on both sides."


def _known(options: argparse.Namespace, after: pd.DataFrame) -> Known | None:
    """Returns how numbers vary from run to run as the newest runs beside those that are compared say; None if nothing.

    Of single runs only, and of the machine and method of the later one: many runs of a side say it themselves.
    """
    from results.record.read import read_folders
    from results.record.run import find_runs
    from results.tables.spread import known_spread
    from results.tables.table import to_frame

    runs = [path for path in (options.before, options.after) if path is not None and (path / "journal.jsonl").exists()]
    stores = {path.resolve().parent for path in runs}
    beside = [run for store in sorted(stores) for run in sorted(find_runs(store))[-MOST_BESIDE:]]
    if len(runs) < BOTH or len(beside) <= BOTH:
        return None
    rows, _ = read_folders(beside)
    frame = to_frame(rows)
    alike = [frame[name].isin(after[name].dropna()) for name in ("machine_id", "method_version")]
    return known_spread(frame[alike[0] & alike[1]])


def _sides(options: argparse.Namespace, sides_of: Any, services: list[Sequence[Row]]) -> dict[str, pd.DataFrame]:
    """Returns the rows by side, the baseline first; of two paths, puts the services of each into `services`."""
    from results.tables.table import to_frame

    if options.by is None:
        if options.before is None or options.after is None or options.runs or options.baseline:
            raise ValueError("expected BEFORE and AFTER, or --by COLUMN with --runs RUN…")
        paths = (options.before, options.after)
        if options.before.resolve() == options.after.resolve():
            raise ValueError(f"BEFORE and AFTER are both {options.before}; expected two, or --by COLUMN --runs RUN…")
        names = [path.name or path.resolve().name for path in paths]  # `.` has none
        if names[0] == names[1]:
            names = [str(path) for path in paths]
        read = [rows_and_services([path]) for path in paths]
        services += [of_side for _, of_side in read]
        return {name: to_frame(rows) for name, (rows, _) in zip(names, read, strict=True)}
    runs = [path for path in (options.before, options.after, *(options.runs or [])) if path is not None]
    frames: dict[str, pd.DataFrame]
    _, frames = sides_of(to_frame(rows_of(runs)), options.by, options.baseline)
    return frames


LEGEND = """\
1.05x is 1.05 times as fast as the baseline at the same step. `faster`, `slower`: the 99 % interval excludes 1, and the
difference is 2 % or more. `same within 9 %`: the whole interval lies so near, and within 20 %. `unclear`: neither; more
runs on each side, or a quieter machine, narrow it. Of one run on a side (1/1) the interval is what is known of the runs
beside them, or assumed: that runs vary by 3 %, and by 8 % where a number was disturbed (~) or has no interval
(--spread, docs/comparing.md)."""


def render_comparison(compared: pd.DataFrame, title: str, width: int) -> str:
    """Returns a comparison for a terminal: a line per cell and metric, what is not comparable, and the means."""
    from results.record.dimensions import IN_EVERY_ROW, MATCHED
    from results.record.human import in_time_unit, mark, rate, ratio, time_unit
    from results.show.terminal import columns_text, counted
    from results.tables.compare import VERDICTS
    from results.tables.means import means_of_comparison
    from results.tables.table import is_control, to_rows

    control, compared = compared[is_control(compared)], compared[~is_control(compared)]
    answered = compared[compared["ratio"].notna()]
    shown = [*MATCHED, "machine"]
    texts = answered[shown].astype("string").fillna("")
    varying = [name for name in shown if name in IN_EVERY_ROW or texts[name].nunique() > 1]
    lines = []
    for row, cells in zip(answered.to_dict("records"), texts[varying].to_numpy().tolist(), strict=True):
        rated = row["metric"].endswith("_per_s")
        unit = "" if rated else time_unit([row["before"], row["after"]])
        both = [
            (rate(row[n]) + "/s" if rated else in_time_unit(row[n], unit)) + mark(row[f"quality_{n}"])
            for n in ("before", "after")
        ]
        runs = f"{row['n_before']}/{row['n_after']}"
        interval = f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
        name = TITLES.get(row["metric"], row["metric"])
        verdict = row["verdict"]
        if row["ratio_low"] == row["ratio_high"]:
            interval, verdict = "-", row["reason"]
        elif verdict == "same":
            verdict += f" within {100 * (max(row['ratio_high'], 1 / row['ratio_low']) - 1):.0f} %"
        lines.append([*cells, name, *both, ratio(row["ratio"]), interval, verdict, runs])
    numbers = ("before", "after", "after is", "99 % interval", "runs")
    header = [*varying, "metric", "before", "after", "after is", "99 % interval", "verdict", "runs"]
    counts = compared["verdict"].value_counts()
    verdicts = counted({word: int(counts.get(word, 0)) for word in VERDICTS})
    left = [name not in numbers for name in header]
    heading = f"{title}: {verdicts}"
    blocks = [columns_text(header, lines, left, width, heading) if lines else heading]
    blocks += _not_comparable(compared, width)
    means = means_of_comparison(compared)
    blocks += [textwrap.fill(_mean(dict(mean)), width) for mean in to_rows(means[means["cells"] > 1])]
    blocks += _control(control)
    return "\n".join(blocks)


def _control(control: pd.DataFrame) -> list[str]:
    """Returns how the control moved, which is no cell: where it did, the machine did."""
    from results.record.human import ratio
    from results.tables.table import CONTROL_PREFIX

    answered = control[control["ratio"].notna()]
    moves = []
    for row in answered.to_dict("records"):
        name, metric = row["workload"].removeprefix(CONTROL_PREFIX), TITLES.get(row["metric"], row["metric"])
        moves.append(f"{name} {metric} {ratio(row['ratio'])}")
    said = f"Control, plain NumPy, in no count and no mean: {', '.join(moves)}."
    return [f"{said} A quarter is the machine; less may be its own."] * bool(moves)


def _mean(mean: dict[str, Any]) -> str:
    name = TITLES.get(mean["metric"], mean["metric"])
    without = f"; without {mean['missing_cells']}" if mean["missing"] else ""
    known = "" if mean["ratio_low"] is None else f" ({mean['ratio_low']:.3f} to {mean['ratio_high']:.3f} at 99 %)"
    return f"Geometric mean, {mean['phase']} {name}: {mean['ratio']:.3f}x over {mean['cells']} cells{known}{without}."


def _not_comparable(compared: pd.DataFrame, width: int) -> list[str]:
    """Returns why cells have no ratio, each reason once with its cells."""
    from results.show.layout import hanging

    without = compared[compared["ratio"].isna()]
    groups: dict[str, list[str]] = {}
    for row in without.to_dict("records"):
        groups.setdefault(row["reason"], []).append(f"{row['workload']} {row['phase']} {row['backend']}")
    columns = [[cells[0] if len(cells) == 1 else f"{len(cells)} cells"] for cells in groups.values()]
    reasons = [f"{reason}" + (f" ({', '.join(cells)})" if len(cells) > 1 else "") for reason, cells in groups.items()]
    return ["Not comparable:\n" + hanging(columns, reasons, width)] if groups else []
