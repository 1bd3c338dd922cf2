"""What identifies a cell: the one list of dimensions. Whatever else depends on them is a filter of it.

Filters of `DIMENSIONS` are the columns of a row and the fields of `bench.cell.Cell`, test ids, the levels of a table,
what a comparison matches and what it may cross, series, the pairs of an A/B, the limits of a device, names of exports.

A new dimension is one entry at the end, with a default. What was written before it (journals, CSVs, packed stores)
reads as if it had the default; it enters the id of a series by its name, and only where it has another value, so that
every series of before keeps its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from results.record.cells.dimension import Dimension, Value

PLAIN_PRECISION = "fp32"
"""What goes without saying where a person reads: a precision is named in words only where it is another one."""

DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        "workload",
        "text",
        "The model with its inputs and optimiser, such as `gpt2`.",
        required=True,
        place=1,
        is_work=True,
        is_name=True,
        in_every_row=True,
        by_place_in_series=True,
    ),
    Dimension(
        "size",
        "text",
        "Which size of the workload, such as `tiny`.",
        required=True,
        place=2,
        in_id=False,
        is_work=True,
        is_name=True,
        by_place_in_series=True,
    ),
    Dimension(
        "phase",
        "text",
        "`infer` (one inference step), `train` (one training step), `prefill` (a prompt), `decode` (a token each),"
        " `generate` (a prompt, and greedy tokens behind it), or a phase of training after the first one: `lora`,"
        " `dpo`, `grpo`, `distill`.",
        required=True,
        place=3,
        in_id=False,
        is_work=True,
        is_name=True,
        in_every_row=True,
        by_place_in_series=True,
    ),
    Dimension(
        "backend",
        "text",
        "The adapter: one runtime on one kind of device, such as `torch_cuda`.",
        required=True,
        place=4,
        in_label=True,
        is_compared=True,
        may_cross=True,
        is_name=True,
        in_every_row=True,
        by_place_in_series=True,
    ),
    Dimension(
        "device_index",
        "integer",
        "Which of the machine's devices of that kind, from 0.",
        default=0,
        read_back=("device", "The device as its runtime or driver names it."),
        place=9,
        mark=":",
        in_label=True,
        is_compared=True,
        may_cross=True,
        bounds=True,
        by_place_in_series=True,
    ),
    Dimension(
        "precision_requested",
        "text",
        "The precision that was asked for.",
        required=True,
        field="precision",
        read_back=("precision", "The effective precision, read back from the prepared step."),
        matched_as_read_back=True,
        place=7,
        may_cross=True,
        is_compared=True,
        bounds=True,
        is_name=True,
        by_place_in_series=True,
    ),
    Dimension(
        "batch",
        "integer",
        "Samples in one batch.",
        required=True,
        place=5,
        mark="b",
        is_work=True,
        may_cross=True,
        by_place_in_series=True,
    ),
    Dimension(
        "sequence",
        "integer",
        "Tokens in one sample, or in its prompt; empty where samples have none.",
        required=True,
        place=6,
        mark="s",
        is_work=True,
        by_place_in_series=True,
    ),
    Dimension(
        "threads",
        "integer",
        "Host threads given to the runtime.",
        required=True,
        place=8,
        mark="t",
        in_id=False,
        is_setting=True,
        may_cross=True,
        bounds=True,
        by_place_in_series=True,
    ),
    Dimension(
        "variant",
        "text",
        "In an A/B the side and what it runs with, such as `B: threads=1`; else empty.",
        place=10,
        in_label=True,
        is_compared=True,
        is_setting=True,
        by_place_in_series=True,
    ),
    Dimension(
        "depth",
        "integer",
        "Tokens that a decode step has before it and with it, at its deepest; empty where a step has no cache.",
        place=6,
        mark="d",
        is_work=True,
    ),
    Dimension(
        "generated_tokens",
        "integer",
        "Tokens that a step generates for each prompt of `sequence` tokens; empty where none are.",
        field="generated",
        place=6,
        mark="g",
        is_work=True,
    ),
    Dimension(
        "rank",
        "integer",
        "Rank of the adapters of `lora`; empty where there are none.",
        place=6,
        mark="r",
        is_work=True,
    ),
    Dimension(
        "accumulation_steps",
        "integer",
        "Equal parts of the batch whose gradients are added up before the optimiser's update; empty where it is one.",
        field="accumulate",
        place=6,
        mark="a",
        is_work=True,
    ),
    Dimension(
        "checkpoint",
        "text",
        "What a training step computes again in its backward pass instead of keeping it: `blocks`; else empty.",
        place=7,
        may_cross=True,
        is_setting=True,
        is_name=True,
    ),
)
IN_ORDER = tuple(sorted(DIMENSIONS, key=lambda dimension: dimension.place))
"""The dimensions as tables, names and the arguments of a `Cell` have them."""

CELL_COLUMNS = tuple(dimension.name for dimension in DIMENSIONS)
"""What identifies a cell within a run."""
DEFAULTS: dict[str, Value] = {d.name: d.default for d in DIMENSIONS if not d.required}
"""What is meant where a dimension is not there: in a plan, a launch record, or a file of before it."""
FILLED = {d.name: d.default for d in DIMENSIONS if not d.by_place_in_series and d.default is not None}
"""The columns that a row is never without. Of the first ten an empty one stays empty, as their series' ids say."""
IN_EVERY_ROW = tuple(d.name for d in DIMENSIONS if d.in_every_row)
SHARED = tuple(d.name for d in DIMENSIONS if not d.is_setting)
"""What the two sides of an A/B have in common."""

OF_GROUP = tuple(d for d in IN_ORDER if not d.is_compared)
"""What the cells of a group have in common."""

POSITION = tuple(d.column for d in IN_ORDER if not d.in_label)
"""The levels of a table's rows; its columns are the labels."""
STEP = tuple(d.column for d in DIMENSIONS if not d.in_label and d.name != "phase")
"""What training and inference have in common where they are compared."""
SHAPE = tuple(d.column for d in IN_ORDER if d.is_work and d.kind == "integer")
"""What the size of a step depends on."""
MODEL = tuple(d.column for d in IN_ORDER if not d.in_label and d.name != "phase" and d.column not in SHAPE)
"""What steps of one model have in common, however large they are."""
SETTINGS = tuple(d.column for d in DIMENSIONS if d.is_setting and not d.in_label)
"""Of these, those in which machines differ, and the sides of an A/B."""
PANEL = tuple(d.column for d in IN_ORDER if not (d.in_label or d.is_setting or d.name == "phase"))
"""What a plot over several machines has in common in one panel, beside the phase."""
LABEL = tuple(d.column for d in DIMENSIONS if d.in_label and not d.is_setting)
"""What names a column of a table, beside the side of an A/B."""
MATCHED = tuple(d.column for d in DIMENSIONS if d.name != "variant")
"""What two rows must have in common to be compared, but for what `--across` names; an A/B is compared by `ab`."""
ACROSS = tuple(d.column for d in DIMENSIONS if d.may_cross)
"""Of these, those in which the two may differ if `--across` names them."""
HINTS = tuple(d.column for d in DIMENSIONS if d.may_cross and not d.in_label)
"""Of these, those looked at to say why a side has no such cell: it may have one that differs in them."""
WORK = tuple(d.column for d in DIMENSIONS if d.is_work)
"""What the computed work depends on."""
BOUNDS = tuple(d.column for d in DIMENSIONS if d.bounds)
"""What the limits of a device depend on, beside the device itself."""
IN_SERIES_BY_NAME = tuple(sorted((d for d in DIMENSIONS if not d.by_place_in_series), key=lambda d: d.name))
"""The dimensions that the id of a series has as `name=value`, in an order that no later one changes."""


def name_parts(values: Mapping[str, object], *, of_id: bool = False) -> Iterator[str]:
    """Returns the parts of a cell's name: those of its position, then the backend with its device, then the rest.

    `values` are by column; `of_id` leaves out what test ids leave out. The side of an A/B has a part of its own.
    """
    shown = [d for d in IN_ORDER if (d.in_id or not of_id) and d.is_shown(values[d.name])]
    yield from (f"{d.mark}{values[d.name]}" for d in shown if not d.in_label)
    yield label_of(values)
    yield from (f"{d.mark}{values[d.name]}" for d in shown if d.in_label and d.is_setting)


def label_of(values: Mapping[str, object]) -> str:
    """Returns what a table's column is called, beside the side of an A/B: `torch_cuda`, `torch_cuda:1`."""
    shown = [d for d in IN_ORDER if d.in_label and not d.is_setting and d.is_shown(values[d.name])]
    return "".join(f"{d.mark}{values[d.name]}" for d in shown)


def more_in_words(values: Mapping[str, object]) -> str:
    """Returns `, name value` of each level of a table that is not at its default: what a title must not hide."""
    shown = [d for d in IN_ORDER if not (d.required or d.in_label) and d.is_shown(values.get(d.name))]
    return "".join(f", {d.cell_field} {values[d.name]}" for d in shown)
