"""The environment that a child is given before it starts, equal for every framework."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

CLEARED_PREFIXES = (
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "VECLIB_",
    "NUMEXPR_",
    "XLA_",
    "JAX_",
    "TF_",
    "ONEDNN_",
    "DNNL_",
    "TORCHINDUCTOR_",
    "OPENVINO_",
    "OV_",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_",
    "CUBLAS_",
    "CUDNN_",
    "PYTORCH_",
    "TORCH_ALLOW_TF32",
    "TORCH_COMPILE",
    "TORCHDYNAMO_",
    "TRITON_",
    "LIBTPU_INIT_",
    "NEURON_CC_",
    "MALLOC_",
    "GLIBC_TUNABLES",
)
"""Variables that change what a framework does; a child gets ours, or none."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def usable_cpus() -> tuple[int, ...]:
    """Returns the logical CPUs that this process may use, one per physical core, in order."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(os.cpu_count() or 1))
    allowed = sorted(os.sched_getaffinity(0))
    firsts, seen = [], set()
    for cpu in allowed:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings = topology.read_text().strip() if topology.is_file() else str(cpu)
        if siblings not in seen:
            seen.add(siblings)
            firsts.append(cpu)
    return tuple(firsts)


def child_environment(parent: Mapping[str, str], threads: int) -> dict[str, str]:
    """Returns the parent's environment without what steers frameworks, and with `threads` threads for all."""
    kept = {name: value for name, value in parent.items() if not name.startswith(CLEARED_PREFIXES)}
    # CUDA's devices in the order in which NVML counts them: what a row calls its device is what was measured.
    fixed = {"PYTHONHASHSEED": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return kept | {name: str(threads) for name in THREAD_VARIABLES} | fixed


MOST_HZ = 6.5e9
"""No x86 core that is sold clocks higher."""


def cpu_ceiling_flops_per_s(threads: int, root: Path = Path("/")) -> float | None:
    """Returns the float32 FLOP/s that so many x86 cores cannot exceed, None for other CPUs: an upper bound, no peak.

    Two fused multiply-adds a cycle of 8 lanes (AVX2) or 16 (AVX-512), which no x86 core exceeds (https://uops.info), at
    the highest clock that the kernel names.
    """
    cpuinfo = root / "proc/cpuinfo"
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text() if cpuinfo.is_file() else "", re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    lanes = 16 if "avx512f" in known else 8 if {"avx2", "fma"} <= known else None
    if lanes is None:
        return None
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
    hz = 1e3 * float(frequency.read_text()) if frequency.is_file() else MOST_HZ
    return threads * hz * 2 * 2 * lanes
