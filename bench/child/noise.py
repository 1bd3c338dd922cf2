"""How far correct code may lie off, sampled: the reference again and again, with the noise of the precision in it.

Of our own workloads what was sampled lies in the repository (`workloads/predicted`, made by `python -m bench.predict`),
under the digest of all that it depends on; other shapes, and what has changed since, are sampled here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.child.checks import choices, predicted
from bench.child.checks.choices import Routed
from bench.child.expected import computed, load_expected
from workloads.arrays import BATCHES_FILE, load_batches, map_initial
from workloads.deviation import MEASURES, Expected, measured
from workloads.tolerance import MissingTolerance, Predicted, Tolerance

if TYPE_CHECKING:
    from backends.base import Setting

SAMPLES = 8
"""Under fewer a root mean square may be too small by luck: 99.9 % of Student's t with 8 lie within 5."""
SAMPLES_WITH_KINKS = 32
"""Where a sample meets less than one kink that flips: so many, that some of them do."""
FLIPPED, LEAST_FLIP = 4.0, 0.5
"""A code of 8 bits that lies near a half is rounded to either neighbour by correct code: rare, and then to be seen. So
many codes of each product are turned to the other one, on average, to see what one makes; this part of that, in root
mean square, is predicted at least."""
FLIPS_WITHIN = 10.0
"""Elements that lie nearer to a kink than so many roundoffs of the usual element are expected to fall either way."""
FILE = "noise.json"


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what is predicted for every tensor that is compared, to `noise.json`.

    Raises MissingTolerance where nothing is stored for this very computation, and there is no torch to sample it.
    """
    stored, why = predicted.find(setting.workload, setting.phase, setting.precision)
    made: dict[str, Any] = {"samples": 0}
    if stored is None:
        try:
            stored, made["samples"] = sample(setting, inputs)
        except ModuleNotFoundError as error:
            raise MissingTolerance(
                f"no tolerance: {why}, and there is no {error.name} here to sample it with: install samestep[torch], "
                f"or `python -m bench.predict {setting.workload.name}` where it is"
            ) from error
        made["said"] = why
    (folder / FILE).write_text(json.dumps(predicted.to_json(stored)))
    return made


def load(folder: Path) -> Predicted:
    """Returns what `make` wrote."""
    return predicted.from_json(json.loads((folder / FILE).read_text()))


def sample(setting: Setting, inputs: Mapping[str, Path]) -> tuple[dict[str, Tolerance], int]:
    """Returns what is predicted, and of how many samples. `inputs` are the folders of what it is made from."""
    initial = map_initial(inputs)
    batches = load_batches(inputs["batches"] / BATCHES_FILE)
    expected = load_expected(inputs["expected"])
    squares: dict[tuple[str, str], float] = {}
    n, wanted = 0, SAMPLES
    routed: list[Routed] = []
    for observed, flips, chosen in _samples(setting, initial, batches):
        if n == 0 and 0 < flips < 1:
            wanted = SAMPLES_WITH_KINKS
        _add(squares, observed, expected, 1.0)
        routed.append(chosen)
        n += 1
        if n == wanted:
            break
    of_flip: dict[tuple[str, str], float] = {}
    for observed, flips in _turned(setting, initial, batches, routed):
        _add(of_flip, observed, expected, LEAST_FLIP**2 * n / (SAMPLES * max(1.0, flips)))
    if setting.precision.reads_codes:
        for seed in range(SAMPLES):
            observed, flips = _flipped(setting, initial, batches, seed)
            _add(of_flip, observed, expected, LEAST_FLIP**2 * n / (SAMPLES * max(1.0, flips)))
    return {
        key: Tolerance(
            **{
                measure: sqrt((squares.get((key, measure), 0.0) + of_flip.get((key, measure), 0.0)) / n)
                for measure in MEASURES
            }
        )
        for key in expected
    }, n


def _add(squares: dict[tuple[str, str], float], observed: Expected, expected: Expected, weight: float) -> None:
    for one in measured(observed, expected, expected):
        at = (one.key, one.measure)
        squares[at] = squares.get(at, 0.0) + weight * one.value**2


def _flipped(setting: Setting, initial: Any, batches: Any, seed: int) -> tuple[Expected, float]:
    """Returns what the reference computes with some codes turned to their other neighbour, and how many of a batch."""
    import torch

    from backends._torch_int8 import FlippedInt8Ops

    ops = FlippedInt8Ops(FLIPPED, seed)
    with torch.no_grad():
        observed = computed(setting.program, ops, initial, batches)
    return observed, ops.flips / len(batches)


def _turned(setting: Setting, initial: Any, batches: Any, routed: Sequence[Routed]) -> Iterator[tuple[Expected, float]]:
    """Yields what the reference computes where open choices of experts fall the other way, and how many of a step."""
    if not routed[0]:
        return
    import torch

    from backends._torch_int8 import NoisyInt8Ops
    from backends._torch_noise import Noise, NoisyOps

    noisy = NoisyInt8Ops if setting.precision.is_quantized else NoisyOps
    noise = Noise(setting.precision, 0)

    def of(turned: Sequence[Any]) -> tuple[Expected, Routed]:
        ops = noisy(noise, turned)
        with torch.no_grad(), noise.off():
            return computed(setting.program, ops, initial, batches), ops.routed

    is_open = choices.open_choices(of(())[1], routed)
    for seed in range(SAMPLES if any(bool(rows.any()) for rows in is_open) else 0):
        which, flips = choices.turned(is_open, seed)
        yield of(which)[0], flips / setting.program.checks.steps


def _samples(setting: Setting, initial: Any, batches: Any) -> Iterator[tuple[Expected, float, Routed]]:
    """Yields what the noisy reference computes, how many elements are expected to flip at a kink, what was routed."""
    from itertools import count

    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from backends._torch_int8 import NoisyInt8Ops
    from backends._torch_noise import Noise, NoisyOps

    program = setting.program
    noisy = NoisyInt8Ops if setting.precision.is_quantized else NoisyOps
    for seed in count():
        noise = Noise(setting.precision, seed)
        ops = noisy(noise)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            observed = computed(program, ops, initial, batches, noise)
        unit = max(setting.precision.unit, setting.precision.operands)
        yield observed, FLIPS_WITHIN * unit * noise.kinked / program.checks.steps, ops.routed
