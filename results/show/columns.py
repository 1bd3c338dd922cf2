"""`docs/reading-the-numbers.md`, made from the schema: every column with its unit, meaning, formula and source."""

from results.record.schema import COLUMN, COLUMNS, DERIVED
from results.record.vocabulary import REASON_CODES, STATUSES, STOP_REASONS

GROUPS: dict[str, tuple[str, str]] = {
    "Which cell, on what": ("row_format", "tokens_per_step"),
    "What came of it": ("status", "reason"),
    "Verification": ("verification", "tokens_distinct"),
    "Latency": ("latency_p50_s", "stop_reason"),
    "Generation": ("ttft_p50_s", "itl_p99_s"),
    "Rounds": ("group_id", "control_s"),
    "Throughput": ("throughput_samples_per_s", "little_ratio"),
    "Energy": ("energy_per_step_j", "energy_origin"),
    "Warm-up, drift, and the harness itself": ("warm_up_steps", "compilations"),
    "Start-up, parts, memory and size": ("import_s", "not_measured"),
    "Work, and what bounds it": ("parameters", "times_bound"),
    "What was computed, and how": ("workload_digest", "effective"),
    "What happened meanwhile": ("measured_in", "launches_invalid"),
    "Versions": ("library_versions", "preset"),
}
"""Title: the first and the last column of each group, in the order of the schema."""

FORMULAS: dict[str, str] = {
    "sqnr_db": "10 log10(Σ b² / Σ (a − b)²), a the reference in codes, b that of float32, over all batches",
    "kl_nats": "mean over vectors along the last axis of Σ p (ln p − ln q), p of float32",
    "error_worst": "the largest, of all tensors, of ‖a − b‖ over the elements kept and of the errors of norm and sum, "
    "each relative to the float64 reference b, with a floor for tensors whose gradient is next to nothing",
    "scale_worst": "|⟨a, b⟩ / ⟨b, b⟩ − 1|",
    "latency_p50_s": "median over the rounds that count of each round's median (of means of `steps_per_sample`)",
    "latency_p90_s": "k = 0.9 (n − 1), linear between neighbours: type 7 of Hyndman & Fan 1996; from 100 samples",
    "latency_p99_s": "k = 0.99 (n − 1), linear between neighbours: type 7 of Hyndman & Fan 1996; from 1000 samples",
    "latency_mean_s": "sum of the samples / latency_n",
    "device_time_p50_s": "events on the device's own stream around each step (cudaEventElapsedTime)",
    "latency_ci_low_s": "Hodges-Lehmann of the rounds' logarithms, by Shamos's spread (results/record/rounds.py)",
    "latency_ci_high_s": "as latency_ci_low_s",
    "latency_effective_n": "n / (1 + 3 Σ ρ), ρ of the signs about the median (Geyer 1992, and half as much again)",
    "tokens_tied": "the reference's two largest logits differ by less than 2 × error_tolerance × the largest of all",
    "ttft_p50_s": "first token on the host − begin, sorted[floor(n / 2)], as `samestep service` has it",
    "tpot_p50_s": "(last token − first token) / (generated_tokens − 1)",
    "itl_p50_s": "gaps between tokens of all generations, sorted[floor(n / 2)]",
    "itl_p90_s": "sorted[floor(0.9 n)]",
    "itl_p99_s": "sorted[floor(0.99 n)]",
    "launch_spread": "(largest − smallest) / latency_p50_s",
    "throughput_samples_per_s": "median over the rounds that count of the samples of each / its seconds",
    "throughput_ci_low_samples_per_s": "as latency_ci_low_s",
    "throughput_ci_high_samples_per_s": "as latency_ci_low_s",
    "threads_worth": "sum over threads of (product alone / product together), the median of the readings beside",
    "throughput_tokens_per_s": "tokens_per_step × steps per second",
    "little_ratio": "steps per second × mean latency under load / in_flight: 1 by Little 1961",
    "drift": "until method 2; Theil-Sen slope × (n − 1) / median (Sen 1968)",
    "has_drifted": "until method 2; |drift| > 0.01, and Mann-Whitney of first against last third with p < 0.001",
    "flops_per_step": "a multiply-add is 2; products and convolutions only; attention's full square (Chowdhery et al. "
    "2022, arXiv:2204.02311, appendix B)",
    "minimum_bytes_per_step": "inference: parameters, inputs, outputs once; training: state in and out, "
    "inputs; with a cache: parameters, what queries see of the cache on average, outputs",
    "flops_per_s": "flops_per_step / latency_p50_s",
    "throughput_flops_per_s": "flops_per_step × steps per second",
    "throughput_bytes_per_s": "minimum_bytes_per_step × steps per second",
    "peak_flops_per_s": "the larger of flops_per_s and throughput_flops_per_s, of steps of 10⁹ FLOP or more",
    "published_flops_per_s": "results/record/peaks.csv",
    "published_bytes_per_s": "results/record/peaks.csv",
    "peak_bytes_per_s": "12 bytes an element of two vectors' sum: ADD of STREAM (McCalpin 1995); 4 an element of means",
    "mfu": "throughput_flops_per_s / peak_flops_per_s (Chowdhery et al. 2022)",
    "bandwidth_utilisation": "throughput_bytes_per_s / peak_bytes_per_s",
    "memory_roof_s": "minimum_bytes_per_step / peak_bytes_per_s, from 128 MiB; with a cache the best possible "
    "time per token: its weights once and its cache to the mean depth, at the read bandwidth of the device's best "
    "backend (Pope et al. 2022, arXiv:2211.05102)",
    "times_memory_roof": "latency_p50_s / memory_roof_s",
    "published_mfu": "throughput_flops_per_s / published_flops_per_s",
    "published_bandwidth_utilisation": "throughput_bytes_per_s / published_bytes_per_s",
    "times_bound": "max(flops_per_s, throughput_flops_per_s) / the highest peak known; bytes likewise from 128 MiB",
    "host_peak_memory_bytes": "ru_maxrss of getrusage(2), before parts and operators",
    "step_peak_memory_bytes": "the same, begun anew when all is verified (clear_refs, proc(5); Linux alone)",
    "graph_bytes": "size of the ONNX file with its external data",
    "weights_bytes": "4 × elements of parameters and buffers",
    "state_bytes": "4 × elements of the optimiser's moments",
    "parts_sum_s": "forward_s + backward_s + optimizer_s",
    "parts_ratio": "parts_sum_s / parts_whole_s",
    "idle_power_w": "counted joules while nothing runs / that time",
    "energy_per_step_j": "counted joules of the window / its steps",
    "energy_per_step_above_idle_j": "energy_per_step_j − idle_power_w × energy_window_s / its steps",
    "overhead_share": "median time of the timing loop around nothing / latency_p50_s",
    "cpu_cores_used": "user and system time of the child / watched_s",
    "other_load_cores": "busy time of all CPUs of the child's cores, without its own, / watched_s (proc(5))",
    "threads_running": "threads whose time in /proc/PID/task/*/stat grew by over 5 % of watched_s",
    "involuntary_switches_per_s": "ru_nivcsw of getrusage(2) / watched_s",
    "throttled_share": "throttled time of cpu.stat, of the control group in which it grew most, / watched_s",
    "thermal_events": "core_throttle_count of /sys/devices/system/cpu/cpu*/thermal_throttle",
    "swapped_pages": "pswpin and pswpout of /proc/vmstat",
    "major_faults": "ru_majflt of getrusage(2)",
    "cpu_frequency_hz": "scaling_cur_freq of cpufreq",
    "cpu_frequency_change": "frequency after / before − 1",
    "cpu_kind": "Intel's lists of its kinds, else cpu_capacity, else cpuinfo_max_freq; empty where all are alike",
    "device_clock_change": "clock after / before − 1",
    "steal_cores": "steal of /proc/stat over the child's CPUs / watched_s (proc(5))",
    "cpu_pressure_share": "total of `some` in /proc/pressure/cpu / watched_s (Linux PSI)",
    "memory_pressure_share": "total of `some` in /proc/pressure/memory / watched_s (Linux PSI)",
    "machine_slower": "the control's product beside rounds that count / the faster quartile of the run's readings − 1",
}

INTRODUCTION = """\
# Reading the numbers

What each column of `results.csv` and of `samestep.load(...)` is. This page is made from the schema: `samestep
columns`.

**A row is a cell in a run**, whatever came of it. Only a row whose `status` is `ok` has numbers: it was verified
against float64, then timed. All others say why in `reason`.

**What may be compared.** Rows whose `workload_digest` is equal computed the same thing on the same bytes. Look also
at `precision`, `batch`, `sequence` and `threads`, and at `method_version`. Rows of one run compare best; of two
runs look at the control's rows first (`control_matmul`, `control_copy`): where they differ, the machine does.

**How far to trust it.** `quality` is `valid`, or `degraded` by `flags`, which [measuring.md](measuring.md)
explains. `latency_ci_low_s` and `latency_ci_high_s` are made of the rounds, so they know what the machine did in those
minutes; `launch_spread` is how far launches differ, where there are two or more. A ratio is best made of the rounds
that two rows of a group have in common (`rounds_latency_s`), as the tables make it.

**Latency or throughput.** Latency has one step in flight; throughput has the device kept full. Where steps cannot
overlap, both come from the same samples (`throughput_mode` is `serial`).

**Fast, or fast enough?** `mfu` is the share of the FLOP/s that the best backend reached on this very device,
`bandwidth_utilisation` that of its memory's bandwidth: a step that is near neither waits for something else.
`times_memory_roof` says how far a step is from the best that its memory allows, such as the time per token.

**Units** are SI and stand in the names: `_s` seconds, `_bytes` bytes, `_j` joules. Empty means not known, never 0.
Times are of one step unless they say otherwise."""


def columns_of(group: str) -> list[str]:
    """Returns the names of the columns of a group of `GROUPS`."""
    names = [column.name for column in COLUMNS]
    first, last = GROUPS[group]
    return names[names.index(first) : names.index(last) + 1]


def page() -> str:
    """Returns the whole page as Markdown."""
    blocks = [INTRODUCTION]
    for group in GROUPS:
        lines = [f"## {group}", "", "| column | unit | meaning | formula and source |", "| --- | --- | --- | --- |"]
        for name in columns_of(group):
            column = COLUMN[name]
            unit = {"": column.kind, "1": "–" if column.kind == "boolean" else "1"}.get(column.unit, column.unit)
            note = " *Made when a run is read.*" if name in DERIVED else ""
            lines.append(f"| `{name}` | {unit} | {_cell(column.description)}{note} | {_cell(FORMULAS.get(name, ''))} |")
        blocks.append("\n".join(lines))
    words = {"status": STATUSES, "reason_code": REASON_CODES, "stop_reason": STOP_REASONS}
    listed = [f"* `{name}`: {', '.join(f'`{word}`' for word in vocabulary)}" for name, vocabulary in words.items()]
    return "\n\n".join([*blocks, "\n".join(["## Words", "", *listed])]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
