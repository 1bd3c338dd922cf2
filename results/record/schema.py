"""The schema of a row: every column with its kind, unit and meaning, and which of them are measurements."""

from collections.abc import Iterator
from dataclasses import dataclass

from results.record.dimensions import DIMENSIONS

ROW_FORMAT = 1
"""Raised when the meaning of a column changes. A new column, empty in older rows, does not raise it."""


@dataclass(frozen=True)
class Column:
    """One column: `kind` is text, integer, number or boolean; `unit` is SI ("1" for a count, "" for text)."""

    name: str
    kind: str
    unit: str
    description: str
    measured: bool = False
    """Whether it is a measurement of the cell, which no row but one that is `ok` may carry."""
    is_name: bool = False
    """Whether it is text that becomes part of paths, labels, test ids and other tools' names."""


def _text(name: str, description: str, is_name: bool = False) -> Column:
    return Column(name, "text", "", description, is_name=is_name)


def _integer(name: str, unit: str, description: str) -> Column:
    return Column(name, "integer", unit, description)


def _number(name: str, unit: str, description: str) -> Column:
    return Column(name, "number", unit, description)


def _measured(name: str, unit: str, description: str, kind: str = "number") -> Column:
    return Column(name, kind, unit, description, measured=True)


def _boolean(name: str, description: str) -> Column:
    return Column(name, "boolean", "1", description)


def _columns_of_cells() -> Iterator[Column]:
    """Returns a column per dimension, each behind the one that says what the runtime made of it."""
    for dimension in DIMENSIONS:
        if dimension.read_back is not None:
            yield _text(*dimension.read_back)
        unit = "1" if dimension.kind == "integer" else ""
        yield Column(dimension.name, dimension.kind, unit, dimension.description, is_name=dimension.is_name)


COLUMNS: tuple[Column, ...] = (
    _integer("row_format", "1", "The format of this row (`ROW_FORMAT` of the samestep that wrote it)."),
    _text("run_id", "The run that the row belongs to; sorts by time.", is_name=True),
    _text("machine", "The machine's name, as its operator or its host name says.", is_name=True),
    _text("machine_id", "Twelve hex digits over the machine's hardware.", is_name=True),
    _text(
        "installation_id",
        "Twelve hex digits over the installation's own id: two boards of one kind differ in it.",
        is_name=True,
    ),
    _text("software_id", "Twelve hex digits over kernel, drivers, Python and installed packages.", is_name=True),
    _text("started_utc", "When the run began, UTC, ISO 8601."),
    *_columns_of_cells(),
    _text("options", "JSON: the adapter's options, those chosen and the defaults."),
    _integer("samples_per_step", "1", "Samples that one step processes."),
    _integer("tokens_per_step", "1", "Tokens that one step processes; empty where samples have none."),
    _text("status", "What came of the cell: one of `STATUSES`."),
    _text("stage", "The stage that the cell reached: one of `STAGES`."),
    _text("reason_code", "Why the cell has no number: one of `REASON_CODES`."),
    _text("reason", "The same in words."),
    _text("verification", "`passed`, `unverified` (`--unverified`), or `not applicable`: it computes nothing."),
    _text("reference", "Of an ONNX file: what it was held against if not float64, and what was not compared."),
    _number("error_worst", "1", "The largest relative error of a verified tensor."),
    _text("error_worst_of", "The tensor with the largest relative error."),
    _number("error_tolerance", "1", "The relative error that was tolerated."),
    _number("scale_worst", "1", "The largest systematic deviation |<a,b>/<b,b> - 1|."),
    _text("scale_worst_of", "The tensor whose scale deviates most."),
    _number("scale_tolerance", "1", "The deviation of scale that was tolerated."),
    _number("update_worst", "1", "What an optimiser made of its gradient: float32 roundoffs from its rule, at most."),
    _text("update_worst_of", "The tensor that lies so far off."),
    _number("update_tolerance", "1", "How many roundoffs were tolerated."),
    _text("arithmetic", "What the products ran in, read back: `bf16`, `f32`, `bf16/f32 47:6`; empty at fp32."),
    _boolean("is_emulated", "Whether most products did not run in the precision's own type; empty at fp32."),
    _number("sqnr_db", "dB", "In 8 bits: energy of float32's outputs over that of the difference to them."),
    _number("kl_nats", "1", "In 8 bits: mean divergence of the outputs' softmax from float32's, in nats."),
    _number("top1_agreement", "1", "In 8 bits: share of output vectors whose largest element is float32's too."),
    _integer("agreement_n", "1", "Of how many output vectors that is."),
    _integer("tokens_compared", "1", "Generated tokens, of all batches, that were held against the reference's."),
    _integer("tokens_equal", "1", "Of these, those that are the reference's."),
    _integer("tokens_tied", "1", "Of these, ties: either choice is right, and the reference's was fed."),
    _integer("tokens_distinct", "1", "Different tokens in the generated text that has fewest: few prove little."),
    _measured("latency_p50_s", "s", "Median time of one step, with one step in flight."),
    _measured("latency_mean_s", "s", "Mean time of one step, with one step in flight."),
    _measured(
        "device_time_p50_s", "s", "Median time of a few steps by the device's own clock; empty where it has none."
    ),
    _measured(
        "latency_min_s", "s", "Shortest time of one step, with one step in flight; empty where a sample is of several."
    ),
    _measured(
        "latency_max_s", "s", "Longest time of one step, with one step in flight; empty where a sample is of several."
    ),
    _measured("latency_p90_s", "s", "90th percentile (Hyndman-Fan type 7) of 100 or more samples of one step."),
    _measured("latency_p99_s", "s", "99th percentile (Hyndman-Fan type 7) of 1000 or more samples of one step."),
    _measured("latency_n", "1", "Latency samples behind the numbers.", kind="integer"),
    _measured("latency_ci_low_s", "s", "Lower end of its 95 % interval, made of the rounds."),
    _measured("latency_ci_high_s", "s", "Upper end of its 95 % interval, made of the rounds."),
    _measured("latency_effective_n", "1", "Independent samples that would know the median as well; until method 2."),
    _number("launch_spread", "1", "Largest less smallest median of the launches, relative to the row's."),
    _integer("steps_per_sample", "1", "Steps in one latency sample, which is their mean."),
    _text("stop_reason", "Why rounds ended: one of `STOP_REASONS`."),
    _measured("ttft_p50_s", "s", "Generation: time to first token, from the prompt to its being on the host."),
    _measured("tpot_p50_s", "s", "Generation: time per token after the first, by generation."),
    _measured("itl_p50_s", "s", "Generation: inter-token latency, between tokens that follow each other."),
    _measured("itl_p90_s", "s", "Its 90th percentile, of 100 or more."),
    _measured("itl_p99_s", "s", "Its 99th percentile, of 1000 or more."),
    _text("group_id", "What the cells that were measured side by side, in the same rounds, have in common."),
    _integer("rounds_n", "1", "Rounds behind the numbers."),
    _integer("rounds_left_out", "1", "Rounds left out because the control beside them was slow."),
    _measured("rounds_latency_s", "", "By round, the median time of a step in s: `0:0.0123 2:0.0121`.", kind="text"),
    _measured("rounds_samples_per_s", "", "By round, samples per second with the device kept full.", kind="text"),
    _number("threads_worth", "1", "What the cell's threads together were worth beside one alone, by the control."),
    _number("control_s", "s", "Seconds of the control's product on the cell's threads, beside the rounds that count."),
    _measured("throughput_samples_per_s", "samples/s", "Samples per second with the device kept full."),
    _measured("throughput_ci_low_samples_per_s", "samples/s", "Lower end of its 95 % interval, made of the rounds."),
    _measured("throughput_ci_high_samples_per_s", "samples/s", "Upper end of its 95 % interval, made of the rounds."),
    _measured("throughput_tokens_per_s", "tokens/s", "Tokens per second with the device kept full."),
    _text("throughput_mode", "How the device was kept full; `serial`: steps cannot overlap, or gain under 5 %."),
    _measured("throughput_n", "1", "Throughput samples (blocks of steps) behind the numbers.", kind="integer"),
    _text("throughput_setting", "JSON: streams, threads and requests that were fastest, and the rates of those tried."),
    _integer("in_flight", "1", "Steps under way at once while throughput was measured."),
    _number("little_ratio", "1", "Throughput x latency under load / steps in flight: 1 by Little's law."),
    _measured("energy_per_step_j", "J", "Energy of the whole counted device per step, with one step in flight."),
    _measured("energy_per_step_above_idle_j", "J", "The same less what idle power would have taken in that time."),
    _measured("energy_window_s", "s", "Time of the steps over which energy was counted."),
    _measured("idle_power_w", "W", "Power afterwards, the step still loaded and nothing running."),
    _text("energy_origin", "`measured:` and the counters that were added up, or `unavailable:` and why."),
    _integer("warm_up_steps", "1", "Steps run before the first sample."),
    _number("warm_up_s", "s", "Time of the warm-up."),
    _boolean("is_steady", "Whether the last two windows of the warm-up were alike; empty where not asked."),
    _number("drift", "1", "Theil-Sen drift of the latency samples from first to last, relative to the median."),
    _boolean("has_drifted", "Whether the drift is over 1 % and no chance (Mann-Whitney); empty where few samples."),
    _number("overhead_share", "1", "Time of the timing loop itself, relative to the median step."),
    _integer("compilations", "1", "Executables compiled while the step was measured."),
    _number("import_s", "s", "Time to import the runtime."),
    _number("build_s", "s", "Time to build the model and place it on the device."),
    _number("compile_s", "s", "Time to compile the step."),
    _number("first_step_s", "s", "Time of the first step, with what it compiles on the way."),
    _number("verify_s", "s", "Time to compare with the reference."),
    _number("after_s", "s", "Time to compare with it once more, after the step was timed."),
    _number("artifacts_s", "s", "Time to make graphs and reference values, when not cached."),
    _number("launch_s", "s", "Time of the whole child process."),
    _integer("peak_memory_bytes", "byte", "Most memory held at once on the step's device."),
    _integer("host_peak_memory_bytes", "byte", "Most host memory held at once by the child."),
    _integer("step_peak_memory_bytes", "byte", "The same while steps were timed: without building and verifying them."),
    _measured("input_copy_s", "s", "Median time to copy one batch from the host to the device; no part of a step."),
    _measured("forward_s", "s", "Median time of the forward pass by itself, with a wait."),
    _measured("backward_s", "s", "Median time of the backward pass by itself, with a wait; training."),
    _measured("optimizer_s", "s", "Median time of the optimiser's update by itself, with a wait; training."),
    _measured("parts_sum_s", "s", "Sum of these without the copy; with its waits, and unfused, more than the step."),
    _measured("parts_whole_s", "s", "Median time of the whole step, measured in turn with its parts."),
    _measured("parts_ratio", "1", "Sum of the parts relative to that, the median of the rounds' own ratios."),
    _integer("graph_bytes", "byte", "Size of the graph's file with what lies beside it."),
    _integer("weights_bytes", "byte", "Size of parameters and buffers in float32."),
    _integer("state_bytes", "byte", "Size of the optimiser's moments in float32; training."),
    _text("not_measured", "JSON: why a measured row lacks a number, by column; `parts` stands for all of the parts."),
    _integer("parameters", "1", "Parameters that the step trains; of a step that trains none, those of the model."),
    _integer("flops_per_step", "FLOP", "Floating-point operations of one step, counted from the shapes."),
    _integer("minimum_bytes_per_step", "byte", "Least memory traffic of one step, from the shapes."),
    _measured("flops_per_s", "FLOP/s", "Floating-point operations per second with one step in flight."),
    _measured("throughput_flops_per_s", "FLOP/s", "Floating-point operations per second with the device kept full."),
    _measured("throughput_bytes_per_s", "byte/s", "Least memory traffic per second with the device kept full."),
    _number(
        "peak_flops_per_s", "FLOP/s", "The most that any backend's matmul or conv reached in the run on this device."
    ),
    _text("peak_flops_of", "The backend and workload that reached it."),
    _number(
        "peak_bytes_per_s",
        "byte/s",
        "The most that any backend's stream reached in the run on this device; for a step with a cache, stream_read.",
    ),
    _text("peak_bytes_of", "The backend and workload that reached it."),
    _measured("mfu", "1", "Model FLOPs utilisation: FLOP/s with the device kept full, of the most measured here."),
    _measured("bandwidth_utilisation", "1", "Least memory traffic per second, of the most measured here."),
    _number("memory_roof_s", "s", "Shortest possible time of one step from memory; empty where a cache may hold it."),
    _measured("times_memory_roof", "1", "How many times as long the median step takes: 1 is the best possible."),
    _number("published_flops_per_s", "FLOP/s", "The chip's published dense peak at this precision, where it is known."),
    _number("published_bytes_per_s", "byte/s", "The chip's published memory bandwidth, where it is known."),
    _text("published_source", "Who published them, where, and when that was read."),
    _measured("published_mfu", "1", "throughput_flops_per_s of the published peak."),
    _measured("published_bandwidth_utilisation", "1", "throughput_bytes_per_s of the published bandwidth."),
    _measured("times_bound", "1", "What was reached, relative to the highest peak known: over 1.1 is `suspicious`."),
    _text("workload_digest", "Digest of parameters, inputs, sizes and hyperparameters."),
    _text("model_digest", "The same without the batch and its inputs: samples of any batch cost the same arithmetic."),
    _text("optimizer", "The update rule with its hyperparameters."),
    _text("operators_reason", "Why there is no time by operator, where it was asked for."),
    _text("requested", "JSON: what was asked for (device, precision, threads)."),
    _text("effective", "JSON: what the adapter read back (device, precision, threads, ...)."),
    _text("measured_in", "The run that measured it: what bounds the chip is measured once a day."),
    _text("quality", "`valid`, or `degraded` or `invalid` by its flags."),
    _text("flags", "Names of what disturbed the measurement, each explained in docs/measuring.md."),
    _number("watched_s", "s", "Time over which the following were watched: that of the samples."),
    _number("cpu_cores_used", "1", "CPU time of the child over that time, in cores."),
    _integer("threads_running", "1", "Threads of the child that ran for more than 5 % of that time."),
    _number("involuntary_switches_per_s", "1/s", "How often the kernel took a CPU from the child."),
    _number("machine_slower", "1", "How far the control before and after lay above what is usual in the run."),
    _number("steal_cores", "1", "What the hypervisor took of the child's CPUs, in cores."),
    _number("other_load_cores", "1", "What other processes took of the child's CPUs, in cores."),
    _number("cpu_pressure_share", "1", "Share of the time in which some task waited for a CPU."),
    _number("memory_pressure_share", "1", "Share of the time in which some task waited for memory."),
    _number("throttled_share", "1", "Share of the time in which a CPU quota stopped the child."),
    _integer("thermal_events", "1", "How often a core slowed down for heat."),
    _integer("swapped_pages", "1", "Pages swapped in or out on the machine."),
    _integer("major_faults", "1", "Page faults of the child that waited for the disk."),
    _number("cpu_frequency_hz", "Hz", "Mean frequency of the child's CPUs at the begin."),
    _number("cpu_frequency_change", "1", "How far it went from that, relative to it."),
    _text("cpu_kind", "Which kind of core the child's CPUs are, where the machine has several kinds."),
    _number("device_clock_hz", "Hz", "The device's clock at the begin."),
    _number("device_clock_change", "1", "How far it went from that, relative to it."),
    _number("device_temperature_c", "degree Celsius", "The device's temperature at the end."),
    _text("device_throttle_reasons", "Why the driver says that the device was slowed down."),
    _number("device_throttled_s", "s", "For how long heat or its hardware slowed the device down."),
    _number("device_power_capped_s", "s", "For how long its power limit slowed the device down."),
    _integer("device_other_processes", "1", "Other processes that computed on the device."),
    _integer("device_memory_errors", "1", "Uncorrected errors of the device's memory."),
    _integer("launches_ok", "1", "Launches that were verified and timed, and not invalid: the numbers are theirs."),
    _integer("launches_failed", "1", "Launches that were started, and not verified and timed."),
    _integer("launches_invalid", "1", "Launches that were timed, and disturbed too much to count."),
    _text("library_versions", "JSON: version by library."),
    _text("python_version", "Version of the Python that ran the step."),
    _text("samestep_version", "Version of samestep."),
    _text("method_version", "Version of the way of measuring; numbers compare within one."),
    _text("preset", "The preset of budgets and limits, such as `quick`."),
)
COLUMN: dict[str, Column] = {column.name: column for column in COLUMNS}

NAMED = tuple(column.name for column in COLUMNS if column.is_name)
"""Text that becomes part of paths, labels, test ids and other tools' names. `variant` is what somebody typed, and
`precision` what a runtime said: free text both."""

MEASURED = tuple(column.name for column in COLUMNS if column.measured)
"""The numbers that only an `ok` row may carry."""

DERIVED = (
    "peak_flops_per_s",
    "peak_flops_of",
    "peak_bytes_per_s",
    "peak_bytes_of",
    "mfu",
    "bandwidth_utilisation",
    "memory_roof_s",
    "times_memory_roof",
    "published_flops_per_s",
    "published_bytes_per_s",
    "published_source",
    "published_mfu",
    "published_bandwidth_utilisation",
)
"""Made when a run is read, from its other rows and from what is published: the journal has none of them."""
