"""What bounds a step: the highest peaks that a run measured on the same device, and the published ones.

FLOP/s are those of `matmul` and `conv`, byte/s those of `stream` and `stream_read`. MFU is model FLOPs utilisation as
Chowdhery et al. 2022 (arXiv:2204.02311, section 4.1 and appendix B) have it: the FLOPs that the model needs,
per second, of the peak. What has a cache reads weights and cache and writes next to nothing: its memory's roof is that
of `stream_read` alone (Pope et al. 2022, arXiv:2211.05102, section 2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from results.record.dimensions import BOUNDS, PLAIN_PRECISION
from results.record.peaks import published
from results.record.row import Row

FLOP_LIMITS = ("matmul", "conv")
READING = "stream_read"
BYTE_LIMITS = ("stream", READING)
NOT_READ = f"; {READING} was not measured"
OF_ARITHMETIC = {"f32": PLAIN_PRECISION, "bf16": "bf16", "f16": "fp16", "i8": "int8", "f8": "fp8"}
"""The precision whose peak is that of products of a type."""
LEAST_FLOPS, LEAST_BYTES = 1e9, 128 << 20
"""A step of less shows what it costs to start one, or a cache, and not what the chip can do."""


@dataclass(frozen=True)
class Peak:
    """The most that was reached, per second, and by whom."""

    per_s: float
    of: str


@dataclass(frozen=True)
class Limits:
    """The measured peaks of one device at one precision; None where the run did not measure it.

    `bytes` is the highest of the memory, `read` that of what only reads.
    """

    flops: Peak | None = None
    bytes: Peak | None = None
    read: Peak | None = None

    def moving(self, row: Mapping[str, object]) -> Peak | None:
        """Returns the peak of what a row moves: with a cache that of reading, or another that says why."""
        if row.get("depth") is None or self.bytes is None:
            return self.bytes
        return self.read or replace(self.bytes, of=self.bytes.of + NOT_READ)


def device_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """Returns what two rows share that have the same limits: one device of one machine, equally many threads, and
    products of one type: what is emulated in another precision is held against the peak of that one.
    """
    of_row = {**row, "precision": computed_in(row)}
    return tuple(of_row.get(name) for name in ("machine_id", "device", *BOUNDS))


def computed_in(row: Mapping[str, object]) -> str:
    """Returns the precision of what most products multiplied: the row's own, or the one that its arithmetic is of."""
    told = str(row.get("arithmetic") or "").partition(" ")[0].partition("/")[0]
    asked = str(row.get("precision") or row.get("precision_requested") or "")
    return OF_ARITHMETIC.get(told, asked)


def _memory_of(row: Mapping[str, object]) -> tuple[object, ...]:
    """Returns what two rows share whose memory has the same limit, whatever they multiply."""
    return device_of({**row, **dict.fromkeys(("precision", "precision_requested", "arithmetic"))})


def limits_for(row: Mapping[str, object], limits: Mapping[tuple[object, ...], Limits]) -> Limits:
    """Returns the limits of a row: those of its device for products of its type, and of its memory in any."""
    flops, moved = limits.get(device_of(row), Limits()), limits.get(_memory_of(row), Limits())
    return Limits(flops.flops, moved.bytes, moved.read)


def limits_of(rows: Iterable[Mapping[str, object]]) -> dict[tuple[object, ...], Limits]:
    """Returns the limits of each device in the rows of one run, as `limits_for` reads them."""
    limits: dict[tuple[object, ...], Limits] = {}
    for row in rows:
        if row["status"] != "ok" or row.get("verification") != "passed":
            continue
        if row["workload"] in FLOP_LIMITS and _number(row, "flops_per_step") >= LEAST_FLOPS:
            reached = max(_number(row, "flops_per_s"), _number(row, "throughput_flops_per_s"))
            before = limits.get(device_of(row), Limits())
            of = f"{row['backend']} {row['workload']}"
            limits[device_of(row)] = replace(before, flops=_higher(before.flops, reached, of))
        if row["workload"] in BYTE_LIMITS and _number(row, "minimum_bytes_per_step") >= LEAST_BYTES:
            reached, before = _number(row, "throughput_bytes_per_s"), limits.get(_memory_of(row), Limits())
            of = f"{row['backend']} {row['workload']}"
            read = _higher(before.read, reached, of) if row["workload"] == READING else before.read
            limits[_memory_of(row)] = replace(before, bytes=_higher(before.bytes, reached, of), read=read)
    return limits


def _higher(peak: Peak | None, per_s: float, of: str) -> Peak:
    return Peak(per_s, of) if peak is None or per_s > peak.per_s else peak


def _number(row: Mapping[str, object], name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def with_limits(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Returns the rows of one run, each beside its limits: the columns of `results.record.schema.DERIVED`.

    Rows without a number have none, and neither has what cannot be verified.
    """
    limits = limits_of(rows)
    return tuple(
        row | _beside(row, limits_for(row, limits))
        if row["status"] == "ok" and row["verification"] == "passed"
        else row
        for row in rows
    )


def _beside(row: Row, limits: Limits) -> Row:
    columns: Row = {}
    flops, moved = row["throughput_flops_per_s"], row["throughput_bytes_per_s"]
    if limits.flops is not None:
        columns |= {"peak_flops_per_s": limits.flops.per_s, "peak_flops_of": limits.flops.of}
        columns["mfu"] = _share(flops, limits.flops.per_s)
    memory = limits.moving(row)
    if memory is not None:
        columns |= {"peak_bytes_per_s": memory.per_s, "peak_bytes_of": memory.of}
        columns["bandwidth_utilisation"] = _share(moved, memory.per_s)
        if _number(row, "minimum_bytes_per_step") >= LEAST_BYTES:  # a cache may hold all that is less
            columns["memory_roof_s"] = _share(row["minimum_bytes_per_step"], memory.per_s)
            columns["times_memory_roof"] = _share(row["latency_p50_s"], columns["memory_roof_s"])
    peak = published(str(row["device"] or ""), computed_in(row))
    if peak is not None:
        columns |= {"published_flops_per_s": peak.flops_per_s, "published_bytes_per_s": peak.bytes_per_s}
        columns["published_source"] = peak.source
        columns["published_mfu"] = _share(flops, peak.flops_per_s)
        columns["published_bandwidth_utilisation"] = _share(moved, peak.bytes_per_s)
    return columns


def _share(value: object, of: object) -> float | None:
    return float(value) / of if isinstance(value, (int, float)) and isinstance(of, (int, float)) and of else None


def bounds_of(
    row: Mapping[str, object],
    others: Iterable[Mapping[str, object]],
    ceiling_flops_per_s: float | None = None,
) -> tuple[float | None, float | None]:
    """Returns the most FLOP/s and byte/s that a row of this device may reach: the highest peaks of it.

    `others` are rows of the same run. What measures a limit itself is compared with what is published, or
    a ceiling that no such chip exceeds: one backend may well reach more than another.
    """
    measured = limits_for(row, limits_of(others))
    if row["workload"] in (*FLOP_LIMITS, *BYTE_LIMITS):
        measured = Limits() if ceiling_flops_per_s is None else Limits(Peak(ceiling_flops_per_s, "ceiling"))
    chip = published(str(row.get("device") or ""), computed_in(row))
    flops = [peak.per_s for peak in (measured.flops,) if peak] + [peak.flops_per_s for peak in (chip,) if peak]
    moved = [peak.per_s for peak in (measured.bytes,) if peak] + [peak.bytes_per_s for peak in (chip,) if peak]
    if _number(row, "minimum_bytes_per_step") < LEAST_BYTES:
        moved = []  # a cache may hold all that such a step moves
    return max(flops, default=None), max(moved, default=None)
