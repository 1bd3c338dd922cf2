"""The environment that a child is given before it starts, equal for every framework."""

from __future__ import annotations

import os
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
