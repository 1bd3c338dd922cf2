"""The adapter of TPUs up to the last line before the device, which is a fake."""

import sys
from types import SimpleNamespace

import jax
import pytest

import backends
from backends import _jax
from bench.child.checks.verify import Refused
from tests.fakes.hardware import Prepared
from tests.fakes.steps import with_threads

TPU = backends.get("jax_tpu")
MODULE = sys.modules["backends.jax_tpu"]


@pytest.fixture(scope="module", params=["infer", "train"])
def prepared(request, tmp_path_factory):
    return Prepared("mlp", request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Returns a function that builds a machine of PCI devices and installed modules."""

    def build(devices, *modules):
        for i, (vendor, device) in enumerate(devices):
            folder = tmp_path / f"sys/bus/pci/devices/0000:00:{i:02x}.0"
            folder.mkdir(parents=True)
            (folder / "vendor").write_text(f"{vendor}\n")
            (folder / "device").write_text(f"{device}\n")
        monkeypatch.setattr(type(TPU), "root", tmp_path)
        monkeypatch.setattr(MODULE, "find_spec", lambda name: name in modules or None)

    return build


V5E = ("0x1ae0", "0x0063")


@pytest.mark.parametrize(
    "devices",
    [[], [("0x8086", "0x0063")], [("0x1ae0", "0x001f")]],
    ids=["nothing", "another vendor", "Google's, and no TPU"],
)
def test_a_machine_without_a_tpu(machine, devices):
    machine(devices, "jax", "libtpu")
    probe = TPU.probe()
    assert (probe.status, probe.reason_code) == ("absent", "no_device")
    assert "Cloud TPU VM" in probe.reason


@pytest.mark.parametrize(("modules", "missing"), [((), "jax"), (("libtpu",), "jax"), (("jax",), "libtpu")])
def test_a_tpu_without_its_software(machine, modules, missing):
    machine([V5E], *modules)
    probe = TPU.probe()
    assert (probe.status, probe.reason_code, probe.device) == ("absent", "not_installed", "1 × TPU v5e")
    assert probe.reason == f"{missing} is not installed: pip install -e '.[tpu]'"


@pytest.mark.parametrize(("device", "name"), MODULE.CHIPS.items())
def test_each_chip_is_named_and_counted(machine, device, name):
    machine([("0x1ae0", device), ("0x10de", "0x2330"), ("0x1ae0", device)], "jax", "libtpu")
    probe = TPU.probe()
    assert (probe.status, probe.device) == ("usable", f"2 × {name}")
    assert f"jax {jax.__version__}" in probe.version


def test_the_ids_are_those_of_the_installed_jax():
    known = pytest.importorskip("jax._src.hardware_utils")._TPU_PCI_DEVICE_IDS
    assert set(MODULE.CHIPS) == set(known) - {"0x0056"}  # JAX's `plc`, which no Cloud TPU VM has


def test_a_libtpu_of_ones_own_will_do(machine, monkeypatch, tmp_path):
    machine([V5E], "jax")
    assert TPU.probe().reason == "libtpu is not installed: pip install -e '.[tpu]'"
    monkeypatch.setenv("TPU_LIBRARY_PATH", str(tmp_path / "libtpu.so"))
    assert TPU.probe().status == "absent"
    (tmp_path / "libtpu.so").touch()
    assert TPU.probe().status == "usable"


def test_loading_leaves_jax_no_other_platform(monkeypatch):
    updated = {}
    monkeypatch.setattr(jax.config, "update", updated.__setitem__)
    TPU.load(with_threads(1))
    assert updated == {"jax_platforms": "tpu", "jax_default_matmul_precision": "highest"}


def test_without_a_tpu_jax_raises(prepared):
    with pytest.raises(RuntimeError, match="tpu"):
        TPU.prepare(prepared.request)


@pytest.fixture
def step(monkeypatch, prepared):
    """A step whose device is in truth the CPU."""
    asked = []
    (cpu,) = jax.devices("cpu")[:1]
    monkeypatch.setattr(jax, "devices", lambda platform: asked.append(platform) or [cpu])
    step = TPU.prepare(prepared.request)
    assert asked == ["tpu"]
    with jax.default_matmul_precision("highest"):
        step.compile()
        yield step


def test_a_step_on_a_fake_device_passes(monkeypatch, prepared, step):
    monkeypatch.setattr(_jax, "device_kind", lambda device: "tpu")
    assert prepared.verify(TPU, step)["verification"] == "passed"
    assert step.effective().told()["matmul_precision"] == "highest"


def test_the_cpu_in_its_place_is_refused(prepared, step):
    with pytest.raises(Refused, match="asked for tpu, the runtime runs on cpu") as refusal:
        prepared.verify(TPU, step)
    assert refusal.value.code == "effective_device"


def test_one_pass_in_bf16_is_refused(monkeypatch, prepared, step):
    monkeypatch.setattr(_jax, "device_kind", lambda device: "tpu")
    with jax.default_matmul_precision("default"), pytest.raises(Refused) as refusal:
        prepared.verify(TPU, step)
    assert refusal.value.code == "effective_precision"


def test_a_second_device_of_one_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda platform: [SimpleNamespace()])
    with pytest.raises(RuntimeError, match="asked for tpu device 1; JAX sees 1"):
        _jax.device_at("tpu", 1)


def test_a_lost_device_is_raised_by_sync(monkeypatch, prepared, step):
    def lost(tree):
        raise RuntimeError("UNAVAILABLE: TPU device halted")

    monkeypatch.setattr(jax, "block_until_ready", lost)
    with pytest.raises(RuntimeError, match="UNAVAILABLE") as error:
        prepared.verify(TPU, step)
    assert not TPU.is_out_of_memory(error.value)


def test_out_of_memory():
    assert TPU.is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"))
    assert TPU.is_out_of_memory(MemoryError())
