"""Makes the folder of a user's ONNX file: its shapes are fixed, its values drawn, and what it computes is known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from safetensors.numpy import save_file

from backends._onnx_file import interface, oracle, plain, values
from backends._onnx_file.counting import Counted
from backends._onnx_file.noise import shortest
from backends._onnx_file.reading import FileRefused, bytes_of, load, tensors
from bench.child.own.factory import Refusal
from workloads.arrays import BATCHES_FILE, PARAMETERS_FILE
from workloads.own.folder import MODEL_FILE
from workloads.own.onnx_file import ONNX_MODEL, PHASE

OUTPUTS_FILE = "outputs.safetensors"
"""What the file computes of each batch, by the reference."""
NEAR = 1e-4
"""The float64 evaluator counts where ONNX Runtime, its optimisations off, lies so near to it."""
NEAR_ROUNDOFFS = 50
"""Or within so many roundoffs of the shortest type that the file computes in, where that is more."""
SMALL = 1e-3
"""That error is relative to at least this: what comes out of sigmoids errs by the roundoff of a half."""
SILENT = 1e-5
"""An output that is nowhere larger verifies nothing: no input excites it."""
FLOAT64, RUNTIME, NOTHING = "float64", "onnxruntime fp32, unoptimised", "nothing"
Outputs = list[dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Reference:
    """What the file computes, by `kind`: what the float64 evaluator says, or ONNX Runtime for the reason `why_not`."""

    kind: str
    outputs: Outputs
    flops: int = 0
    why_not: str = ""


def make(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes `model.json`, the file with its shapes fixed, its batches, and what it computes of them.

    `asked` has `name`, `reference` (the path), `batch`, `inputs` (the path of an .npz), `shapes` (as they were typed)
    and `unverified`. Raises Refusal, in one line, where the file cannot be run as it is.
    """
    try:
        return _made(asked, folder)
    except FileRefused as refused:
        raise Refusal(str(refused)) from refused


def _made(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    path = Path(asked["reference"])
    model = load(path)
    given = values.read_given(Path(asked["inputs"]) if asked.get("inputs") else None)
    shapes = values.shapes_of(given) | interface.parse_shapes(asked.get("shapes"))
    inputs = interface.fixed_inputs(interface.inputs_of(model), shapes, asked.get("batch"))
    outputs = interface.outputs_of(model)
    interface.check_activations(path.name, interface.with_shapes(model, inputs))
    batches = values.make_batches(model, inputs, given)
    no_oracle = interface.without_oracle(model)
    ran = _run(path.name, interface.with_shapes(model, inputs), batches)
    fixed, stays_open = _fixed(model, inputs, ran)
    reference = _reference(fixed, batches, ran) if not no_oracle else Reference(NOTHING, ran, why_not=no_oracle)
    compared, said = _compared(reference, stays_open)
    described = {
        "kind": "onnx_file",
        "name": asked["name"],
        "batch": asked.get("batch") or _batch(inputs),
        "inputs": {one.name: [list(one.dims), one.dtype] for one in inputs},
        "outputs": {one.name: [list(ran[0][one.name].shape), one.dtype] for one in outputs},
        "compared": compared,
        "is_unverified": bool(no_oracle) and bool(asked.get("unverified")),
        "reference": reference.kind,
        "said": said,
        "phases": [PHASE],
        "operators": dict(interface.operators_of(model)),
        "refused": _refused(no_oracle, bool(asked.get("unverified")), compared),
        "flops": reference.flops,
        "minimum_bytes": _minimum_bytes(model, batches[0], ran[0]),
        "held": sum(_size(tensor) for tensor in tensors(model) if tensor.data_type in oracle.NARROW),
        "held_bytes": sum(map(bytes_of, tensors(model))),
    }
    _write(folder, fixed, batches, reference.outputs)
    described["sha256"] = _digest(folder, described)
    (folder / MODEL_FILE).write_text(json.dumps(described))
    return {"said": said} if said else {}


def _run(name: str, model: ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]]) -> Outputs:
    """Returns what ONNX Runtime computes, unoptimised. Raises FileRefused where it cannot, or where shapes depend."""
    try:
        ran = plain.run(model, batches)
    except Exception as error:  # ONNX Runtime's own kinds, which have no common one
        raise FileRefused(f"{name}: ONNX Runtime cannot run it: {' '.join(str(error).split())[:300]}") from error
    for output in ran[0]:
        if ran[0][output].shape != ran[1][output].shape:
            raise FileRefused(f"{name}: the shape of its output {output} depends on values: it has none to be bound to")
        if not ran[0][output].size:
            raise FileRefused(f"{name}: its output {output} is empty for these inputs; give others by {values.CURE}")
        if not all(np.isfinite(one[output]).all() for one in ran if one[output].dtype.kind == "f"):
            raise FileRefused(
                f"{name}: its output {output} is not finite for these inputs; give others by {values.CURE}"
            )
    return ran


def _fixed(model: ModelProto, inputs: tuple[interface.Value, ...], ran: Outputs) -> tuple[ModelProto, str]:
    """Returns the model with its shapes written into it, and what is to be said of that.

    A branch that is never taken may contradict the shapes of the other: then inputs stay as open as they are.
    """
    fixed = interface.with_shapes(model, inputs, _shapes(ran))
    if not (why := plain.why_not_opened(fixed)):
        return fixed, ""
    still_open = interface.with_shapes(model, (), _shapes(ran))
    if plain.why_not_opened(still_open):
        raise FileRefused(f"ONNX Runtime cannot open it as users do, optimised: {why[:300]}")
    return still_open, "its inputs stay open: with the shapes that they have ONNX Runtime cannot open it"


def _shapes(ran: Outputs) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in ran[0].items()}


def _reference(model: ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]], ran: Outputs) -> Reference:
    """Returns what the float64 evaluator computes, where ONNX Runtime lies near it; else what that computed."""
    flops: Counter[str] = Counter()
    try:
        outputs = oracle.evaluated(oracle.evaluator_of(model, partial(Counted, flops=flops)), batches)
    except Exception as error:  # noqa: BLE001 - an operator that it lacks, a file that cannot be converted …
        return Reference(RUNTIME, ran, why_not=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    n = flops.total() // len(batches)
    errors = {name: max(_error(ran[i][name], outputs[i][name]) for i in range(len(ran))) for name in ran[0]}
    worst, of = max((error, name) for name, error in errors.items())
    if worst > max(NEAR, NEAR_ROUNDOFFS * shortest(model)):
        return Reference(RUNTIME, ran, n, f"the float64 evaluator is {worst:.1g} off in {of}")
    return Reference(FLOAT64, outputs, n)


def _error(observed: NDArray[Any], expected: NDArray[Any]) -> float:
    """Returns the norm of the difference relative to the norm of what is expected, at least `SMALL` each."""
    difference = float(np.linalg.norm(observed.astype(np.float64) - expected))
    error = difference / max(float(np.linalg.norm(expected)), SMALL * sqrt(expected.size))
    return error if np.isfinite(error) else float("inf")


def _compared(reference: Reference, stays_open: str) -> tuple[list[str], str]:
    """Returns the outputs that are compared, and what is to be said of the others and of the reference."""
    first, second = reference.outputs
    silent = [
        name for name in first if max(np.abs(one[name].astype(np.float64)).max() for one in (first, second)) < SILENT
    ]
    same = [name for name in first if name not in silent and np.array_equal(first[name], second[name])]
    said = [stays_open] if stays_open else []
    if reference.kind == RUNTIME:
        said.append(f"verified against {reference.kind}: {reference.why_not}")
    elif reference.kind == NOTHING:
        said.append(reference.why_not)
    said += [f"nothing excites its output {name}: it is not compared" for name in silent]
    said += [f"its output {name} is the same for both batches" for name in same]
    return [name for name in first if name not in silent], "; ".join(said)


def _refused(no_oracle: str, is_unverified: bool, compared: Sequence[str]) -> dict[str, str]:
    """Returns why its program is not run, by phase; nothing where it is."""
    if no_oracle and not is_unverified:
        return {PHASE: f"{no_oracle}; --unverified times it all the same, in no ratio"}
    if not compared:
        return {PHASE: f"its outputs are below {SILENT:g} whatever goes in: nothing to verify; give {values.CURE}"}
    return {}


def _batch(inputs: Sequence[interface.Value]) -> int:
    """Returns how many samples a step has: the first dimension of the first input that has one."""
    return next((int(one.dims[0]) for one in inputs if one.dims), 1)


def _size(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _minimum_bytes(model: ModelProto, batch: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> int:
    """Returns what even a perfect cache must move: the file's tensors, inputs and outputs, each once."""
    arrays = (*batch.values(), *outputs.values())
    return sum(map(bytes_of, tensors(model))) + sum(array.nbytes for array in arrays)


def _write(folder: Path, model: ModelProto, batches: Sequence[Mapping[str, NDArray[Any]]], outputs: Outputs) -> None:
    plain.save(model, folder / ONNX_MODEL)
    save_file({}, folder / PARAMETERS_FILE)  # they stay in the file
    for name, of_batches in ((BATCHES_FILE, batches), (OUTPUTS_FILE, outputs)):
        flat = {
            f"{i}.{key}": np.array(array, order="C") for i, one in enumerate(of_batches) for key, array in one.items()
        }
        save_file(flat, folder / name)


def _digest(folder: Path, described: Mapping[str, Any]) -> str:
    """Returns a digest of all that decides what is computed."""
    running = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            running.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return running.hexdigest()
