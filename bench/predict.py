"""Makes what is predicted for our own workloads: the files of `workloads/predicted`.

    python -m bench.predict [WORKLOAD[-SIZE]…] [--phases LIST] [--precision LIST] [--keep]

All of them without arguments, which takes an hour; those that are still of this code are left as they are. After a
change that should make no difference `--keep` is quicker: where what is predicted at the tiny size comes out as it was,
digit by digit, that of the larger ones is kept under the new key. What nobody has made yet is left so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from backends._memory import MEMORY, set_memory
from backends.base import Setting
from bench.artifacts import BATCHES, CACHES, CODES, EXPECTED, PARAMETERS, handed_over
from bench.child import expected, inputs, noise
from bench.child.checks import caches, codes, greedy, predicted
from workloads.catalog import CATALOG, at, phases, phases_of
from workloads.generate import Generating
from workloads.precision import PRECISIONS, Precision, precision_of
from workloads.recipes.int8 import why_undefined
from workloads.tolerance import Predicted
from workloads.tuning import TUNED
from workloads.workload import Workload

INFERENCE_ALONE = ("fp16",)
"""Precisions that nobody trains in at the published sizes here: their kernels take minutes a step on a CPU."""


def wanted(
    names: Sequence[str], precisions: Sequence[Precision], chosen: Sequence[str] = ()
) -> Iterator[tuple[Workload, str, Precision]]:
    """Yields workload, phase and precision of all that is predicted, or of what `names` and `chosen` phases name."""
    for name, model in CATALOG.items():
        for size in dict.fromkeys(("tiny", model.PUBLISHED)):
            if names and name not in names and f"{name}-{size}" not in names:
                continue
            for phase in phases_of(name):
                if chosen and phase not in chosen:
                    continue
                if phase in TUNED and size != "tiny":
                    continue  # a model beside another: sampled where it runs
                workload = at(name, size, phase)
                for precision in precisions:
                    if why_undefined(workload.programs[phase], precision):
                        continue
                    is_short = precision.name in INFERENCE_ALONE and size != "tiny"
                    if not (is_short and workload.programs[phase].update is not None):
                        yield workload, phase, precision


def make(workload: Workload, phase: str, precision: Precision) -> tuple[Predicted, int]:
    """Returns what is predicted, and of how many samples, all made here and now."""
    setting = Setting(workload, phase, precision, threads=1)
    with TemporaryDirectory(prefix="samestep-predict-") as folder:
        folders: dict[str, Path] = {}
        makers = {PARAMETERS: inputs.make_parameters, BATCHES: inputs.make_batches}
        if isinstance(setting.program, Generating):
            makers[BATCHES] = greedy.make_batches
        makers |= {CODES: codes.make_codes} if precision.is_quantized else {}
        makers |= {CACHES: caches.make_caches} if workload.programs[phase].prompt is not None else {}
        for artifact, maker in (makers | {EXPECTED: expected.make}).items():
            (path := Path(folder) / artifact.name).mkdir()
            maker(setting, path, handed_over(folders))
            folders[artifact.name] = path
        return noise.sample(setting, handed_over(folders))


def stored(workload: Workload, phase: str, precision: Precision) -> Predicted | None:
    """Returns what the file has of it, of whatever code; None where it has nothing."""
    path = predicted.path_of(workload)
    entries = json.loads(path.read_text()) if path.exists() else {}
    entry = entries.get(predicted.entry_of(workload, phase, precision))
    return None if entry is None else predicted.from_json(entry["predicted"])


def store(workload: Workload, phase: str, precision: Precision, found: Predicted) -> None:
    """Writes a prediction into its file, in place of one of before."""
    path = predicted.path_of(workload)
    entries = json.loads(path.read_text()) if path.exists() else {}
    key = predicted.key_of(workload, precision)
    entries[predicted.entry_of(workload, phase, precision)] = {"key": key, "predicted": predicted.to_json(found)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries))
    path.write_text("{\n" + lines + "\n}\n")


def main(arguments: Sequence[str]) -> int:
    """Makes what is asked for and is not there, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.predict", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD[-SIZE]")
    parser.add_argument("--phases", help=f"of: {', '.join(phases())} (default: all)")
    parser.add_argument("--precision", default=",".join(PRECISIONS))
    parser.add_argument("--keep", action="store_true", help="what the tiny size says has not changed")
    given = parser.parse_args(arguments)
    known = {*CATALOG, *(f"{name}-{size}" for name, model in CATALOG.items() for size in model.SIZES)}
    if unknown := sorted({*given.names} - known):
        parser.error(f"unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
    chosen = given.phases.split(",") if given.phases else []
    if unknown := sorted({*chosen} - {*phases()}):
        parser.error(f"unknown phase {unknown[0]!r}; known: {', '.join(phases())}")
    try:
        precisions = [precision_of(name) for name in given.precision.split(",")]
    except ValueError as error:
        parser.error(str(error))
    set_memory(MEMORY[0])
    unchanged: set[tuple[str, str, str]] = set()
    for workload, phase, precision in wanted(given.names, precisions, chosen):
        if predicted.find(workload, phase, precision)[0] is not None:
            continue
        title = f"{workload.name} {workload.size} {predicted.entry_of(workload, phase, precision)}"
        before, kind = stored(workload, phase, precision), (workload.name, phase, precision.name)
        if given.keep and before is None:
            continue
        if given.keep and before is not None and kind in unchanged:
            store(workload, phase, precision, before)
            print(f"{title}: kept", flush=True)
            continue
        print(f"{title} …", flush=True)
        begun = perf_counter()
        found, samples = make(workload, phase, precision)
        if before is not None and predicted.to_json(before) == predicted.to_json(found):
            unchanged.add(kind)
        store(workload, phase, precision, found)
        print(f"{title}: {samples} samples in {perf_counter() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
