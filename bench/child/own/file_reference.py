"""What an ONNX file must compute, and how far correct code may lie off: its artifacts `expected` and `noise`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from backends._onnx_file import oracle, plain
from backends._onnx_file.noise import noisy_evaluator, perturbed
from bench.child.checks import predicted
from bench.child.expected import load_expected, save_expected
from bench.child.noise import FILE, FLIPS_WITHIN, SAMPLES, SAMPLES_WITH_KINKS
from bench.child.own.onnx_file import FLOAT64, OUTPUTS_FILE
from workloads.arrays import BATCHES_FILE, load_batches
from workloads.deviation import MEASURES, Expected, measured
from workloads.own.folder import MODEL_FILE
from workloads.own.onnx_file import ONNX_MODEL, FileProgram
from workloads.precision import ROUNDOFF
from workloads.summary import summarize
from workloads.tolerance import FACTOR, MissingTolerance, Tolerance

if TYPE_CHECKING:
    from backends.base import Setting

Outputs = Sequence[Mapping[str, NDArray[Any]]]
WORTHLESS = 0.1
"""An output that may be so far off is not held against anything, whatever its tolerance says."""
LONGEST_S = 60.0
"""So long kinks are looked for beyond the samples that are drawn always: the evaluator is slow."""


def make(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what the file must compute, `expected.json` and `expected.safetensors`: its folder has it already."""
    program = _program(setting)
    save_expected(_summaries(program, load_batches(Path(program.folder) / OUTPUTS_FILE)), folder)
    return {}


def make_noise(setting: Setting, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Writes what is predicted for each output that is compared, to `noise.json`: root mean squares over samples.

    Raises MissingTolerance where correct code may be so far off in all of them that nothing would be proven.
    """
    program = _program(setting)
    expected = load_expected(inputs["expected"])
    batches = load_batches(Path(program.folder) / BATCHES_FILE)
    squares: dict[tuple[str, str], float] = {}
    n, wanted, start = 0, SAMPLES, perf_counter()
    for outputs, flips in _samples(Path(program.folder), batches):
        if n == 0 and 0 < flips < 1:
            wanted = SAMPLES_WITH_KINKS
        for one in measured(_summaries(program, outputs), expected, expected):
            at = (one.key, one.measure)
            squares[at] = squares.get(at, 0.0) + one.value**2
        n += 1
        if n == wanted or (n >= SAMPLES and perf_counter() - start > LONGEST_S):
            break
    found = {
        key: Tolerance(**{measure: sqrt(squares.get((key, measure), 0.0) / n) for measure in MEASURES})
        for key in expected
    }
    (folder / FILE).write_text(json.dumps(predicted.to_json(found)))
    return {"samples": n, "said": _proving_nothing(found)}


def _proving_nothing(found: Mapping[str, Tolerance]) -> str:
    """Returns which outputs prove nothing, since correct code may be anything there. Raises MissingTolerance."""
    far = {key: FACTOR * one.error for key, one in found.items() if FACTOR * one.error > WORTHLESS}
    said = ", ".join(f"{key} {off:.2g}" for key, off in far.items())
    if len(far) == len(found):
        raise MissingTolerance(
            f"ill-conditioned: roundoff alone may make all outputs {said} off, so that nothing would be proven; "
            "give other values by --model-inputs FILE.npz"
        )
    return f"roundoff alone may make {said} off, which proves nothing" if far else ""


def _samples(folder: Path, batches: Outputs) -> Iterator[tuple[Outputs, float]]:
    """Yields what the reference computes under noise, and how many elements of a step are expected to flip at a kink.

    Where ONNX Runtime is the reference, its inputs and tensors err in place of its operators.
    """
    model = onnx.load(str(folder / ONNX_MODEL))
    if json.loads((folder / MODEL_FILE).read_text())["reference"] != FLOAT64:
        for seed in range(SAMPLES):
            yield plain.run(*perturbed(model, batches, seed)), 0.0
        return
    evaluator, noise = noisy_evaluator(model)
    for seed in range(SAMPLES_WITH_KINKS):
        noise.seed(seed)
        outputs = oracle.evaluated(evaluator, batches)
        yield outputs, FLIPS_WITHIN * ROUNDOFF * noise.kinked / len(batches)


def _summaries(program: FileProgram, outputs: Outputs) -> Expected:
    """Returns the summaries of the outputs that are compared, by key."""
    return {
        program.checks.key(i, name): summarize(of_batch[name])
        for i, of_batch in enumerate(outputs)
        for name in program.compared
    }


def _program(setting: Setting) -> FileProgram:
    program = setting.program
    assert isinstance(program, FileProgram)
    return program
