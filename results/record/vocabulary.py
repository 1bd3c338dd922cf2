"""What the values of a row may be: its words, the form of a name, and the limits of its numbers."""

import re

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,99}")
"""What such text consists of: nothing that a shell, a spreadsheet, a web page or a file system would act on."""

PREFERRED_BASELINE = "torch_cpu"
"""What everybody has, so what the backends of two machines can both be set against."""
STATUSES = (
    "ok",
    "unavailable",
    "unsupported",
    "not_needed",
    "disturbed",
    "known_failure",
    "wrong",
    "refused",
    "broken",
    "error",
    "crashed",
    "timeout",
    "out_of_memory",
    "not_run",
)
STAGES = (
    "plan",
    "artifacts",
    "start",
    "import",
    "build",
    "compile",
    "verify",
    "warm_up",
    "measure",
    "after",
    "parts",
    "operators",
    "close",
)
REASON_CODES = (
    "not_installed",
    "no_device",
    "wrong_platform",
    "phase_not_supported",
    "precision_not_supported",
    "operator_not_supported",
    "declared",
    "output_differs",
    "loss_differs",
    "state_differs",
    "not_finite",
    "effective_precision",
    "fp32_not_verified",
    "effective_device",
    "effective_threads",
    "effective_options",
    "does_not_wait",
    "disturbed",
    "recompiled",
    "implausible",
    "import_failed",
    "start_failed",
    "compile_failed",
    "step_failed",
    "artifact_failed",
    "model_refused",
    "no_tolerance",
    "signal",
    "exit_code",
    "deadline",
    "memory",
    "device_lost",
    "budget",
    "interrupted",
    "killed",
    "first_failure",
    "saturated",
    "smaller_failed",
)
VERIFICATIONS = ("passed", "before only", "unverified", "not applicable")
QUALITIES = ("valid", "degraded", "invalid")
STOP_REASONS = ("precise", "budget", "most_samples")
SIGNED = (
    "scale_worst",
    "drift",
    "energy_per_step_above_idle_j",
    "cpu_frequency_change",
    "device_clock_change",
    "device_temperature_c",
)
"""The numbers that may be negative."""
MOST = {"s": 1e9} | dict.fromkeys(("1/s", "samples/s", "tokens/s", "FLOP/s", "byte/s"), 1e24)
"""By unit, more than anything can measure: 30 years; a million times the fastest machine of 2026 (1e18 FLOP/s)."""
LEAST_LATENCY_S = 1e-12
"""Light goes 0.3 mm in that time: no step is faster, not even one of nothing."""
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "status": STATUSES,
    "stage": STAGES,
    "reason_code": REASON_CODES,
    "verification": VERIFICATIONS,
    "quality": QUALITIES,
    "stop_reason": STOP_REASONS,
}

SAMPLES_NEEDED = {"latency_p90_s": 100, "latency_p99_s": 1000}
"""A percentile needs ten samples beyond it."""

REASON_LIMIT = 2_000
"""Characters of a reason: it is read in a table, the whole message of a compiler belongs into the log."""
