"""Made-up cells and rows: of one workload digest, verified, and fast or not as a test says."""

from results.record.row import make_row

RUN_ID = "20261123T125900Z-machine-1a2b"
LATER_RUN_ID = "20261124T125900Z-machine-3c4d"
HEADER = {
    "machine": {"name": "machine", "machine_id": "0123456789ab"},
    "versions": {"samestep": "0.1.0"},
    "options": {"preset": "quick"},
    "started_utc": "2026-11-23T12:59:00Z",
}
CELL = {
    "workload": "mlp",
    "size": "tiny",
    "phase": "infer",
    "backend": "torch_cpu",
    "device_index": 0,
    "precision_requested": "fp32",
    "batch": 4,
    "sequence": None,
    "threads": 2,
}


def cell(**changes):
    return {**CELL, **changes}


def row_of(status="ok", **changes):
    """Returns a row of `RUN_ID`: verified with a latency of 1 ms, or not `ok` for a reason."""
    of_status = {"reason_code": "no_device", "reason": "no device here"}
    if status == "ok":
        of_status = {
            "precision": "fp32",
            "verification": "passed",
            "error_worst": 1e-6,
            "error_tolerance": 1e-5,
            "latency_p50_s": 1e-3,
            "throughput_samples_per_s": 4000.0,
            "workload_digest": "d1",
        }
    of_run = {"run_id": RUN_ID, "machine": "machine", "machine_id": "0123456789ab"}
    return make_row(**{**of_run, **CELL, "status": status, **of_status, **changes})


def idle_row(**changes):
    """Returns the row of a backend that computes nothing, in a nanosecond."""
    nothing = {"verification": "not applicable", "error_worst": None, "error_tolerance": None}
    return row_of(**{"backend": "null", "latency_p50_s": 1e-9, "throughput_samples_per_s": 4e9, **nothing, **changes})
