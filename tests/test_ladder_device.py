"""`--batch max` on accelerators that another package brings: they compute on the CPU, and are full as a test says."""

import re

import pytest

from tests.fakes.door import bench, run_in

CHIP = '''
"""An accelerator in name: torch on the CPU, with what a chip may do at batch {at}."""
import time
from dataclasses import replace

from backends.base import Probe
from backends.torch_cpu import TorchCpu


class {name}(TorchCpu):
    device_kind = "chip"

    def probe(self):
        return Probe("usable", "a chip")

    def prepare(self, request):
        (batch,) = {{len(next(iter(one.values()))) for one in request.batches}}
        if {memory} and batch >= {at}:
            raise MemoryError("the chip holds no more")
        step = super().prepare(request)
        told, ran, made = step.effective, step.step, step.outputs

        def slow(i):
            time.sleep(0.3 if {saturates} and batch >= {at} else 0.0)  # far longer than any step here takes
            ran(i)

        step.step = slow
        step.effective = lambda: replace(told(), device="chip")
        if {lies} and batch >= {at}:
            step.outputs = lambda: {{name: 2 * value for name, value in made().items()}}
        return step
'''
CHIPS = {"saturated": "saturates", "full": "memory", "lying": "lies"}


@pytest.fixture
def _chips(tmp_path):
    """Installs a package with an adapter for each of `CHIPS`."""
    info = tmp_path / "chips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chips\nVersion: 1.0\n")
    names = "".join(f"{name}_chip = chips.{name}_chip\n" for name in CHIPS)
    (info / "entry_points.txt").write_text(f"[samestep.backends]\n{names}")
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "__init__.py").touch()
    for name, kind in CHIPS.items():
        does = {one: one == kind for one in CHIPS.values()}
        text = CHIP.format(name=name.title(), at=8, **does)
        (tmp_path / "chips" / f"{name}_chip.py").write_text(text)


@pytest.mark.usefixtures("_chips")
def test_each_chip_climbs_until_it_is_full(tmp_path):
    pytest.importorskip("torch")
    options = ["--preset", "smoke", "--workloads", "mlp", "--phases", "infer", "--results-dir", "runs"]
    chips = [f"{name}_chip" for name in CHIPS]
    done = bench(
        *options,
        "--batch",
        "max:32",
        "--threads",
        "1",
        "--backends",
        ",".join(chips),
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    rows = {(row["backend"], row["batch"]): row for row in run_in(tmp_path / "runs").rows if row["backend"] in chips}
    found = {chip: [rows[chip, batch]["status"] for batch in (4, 8, 16, 32)] for chip in chips}
    assert found == {
        "saturated_chip": ["ok", "ok", "not_needed", "not_needed"],
        "full_chip": ["ok", "out_of_memory", "not_needed", "not_needed"],
        "lying_chip": ["ok", "wrong", "not_needed", "not_needed"],
    }, done.stdout
    assert rows["full_chip", 32]["reason"] == "no larger batch is tried: 8 is out_of_memory"
    assert rows["saturated_chip", 16]["reason_code"] == "saturated"
    # The lie fails the run, and memory that ended does not.
    failed = re.findall(r"^FAILED [^\s\[]*\[([^\]]*)\]", done.stdout, re.MULTILINE)  # a message may follow
    assert (done.returncode, failed) == (1, ["infer-mlp-b8-fp32-lying_chip"])


@pytest.mark.usefixtures("_chips")
def test_they_climb_by_themselves(tmp_path):
    options = ["--workloads", "mlp", "--phases", "infer", "--backends", "full_chip,torch_cpu", "--co", "-q"]
    done = bench(*options, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    cells = [line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if "test_step[" in line]
    of_mlp = {name for name in cells if name.startswith("infer-mlp-") and "null" not in name}
    assert of_mlp == {
        "infer-mlp-b64-fp32-torch_cpu",
        *(f"infer-mlp-b{64 << n}-fp32-full_chip" for n in range(9)),
    }
