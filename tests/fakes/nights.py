"""Made-up nights: a run of a machine each, with noise, and slower from a night on where a test says so."""

from datetime import timedelta

import numpy as np

from tests.fakes.runs import FIRST, write_run

BACKENDS = ("torch_cpu", "jax_cpu", "openvino_cpu", "onnxruntime_cpu")
NIGHTS = 30


def write_nights(store, machine, slower_from=None, by=1.2, backends=(), nights=NIGHTS, away=(), software="s1", seed=0):
    """Writes a run per night: 0.5 % of noise, and `backends` slower by that much from a night on."""
    generator = np.random.default_rng(seed)
    for number in range(nights):
        noise = np.exp(generator.normal(0, 0.005, len(BACKENDS)))
        slow = slower_from is not None and number >= slower_from
        times = {
            name: 1e-3 * float(factor) * (by if slow and name in backends else 1)
            for name, factor in zip(BACKENDS, noise, strict=True)
        }
        if number not in away:
            software_id = software if slow else "s1"
            write_run(store, machine, FIRST + timedelta(number), times, software_id=software_id)


def open_alarms(found):
    """Returns the alarms of a history that nobody acknowledged."""
    return found.alarms[found.alarms["is_open"].astype(bool)]
