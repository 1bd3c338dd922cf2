"""Energy: counters in files as the kernel writes them, on a machine whose power is known, in a child, and real ones."""

from dataclasses import replace
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import pytest

import backends
from backends import _nvidia
from backends.base import EnergyCounter, EnergyUnavailable
from bench.child.beside import energy
from bench.child.beside.energy import MOST_W, Meter, energy_columns, rapl_counters
from results.record.row import make_row
from tests.fakes.bench import CELL, faulty_suite, filled_cache

CPU = SimpleNamespace(device_kind="cpu")
RANGE_UJ = 262_143_328_850
ZONES = {
    "intel-rapl:0": ("package-0", 1_000_000),
    "intel-rapl:0:0": ("core", 600_000),
    "intel-rapl:0:1": ("uncore", 100_000),
    "intel-rapl:0:2": ("dram", 20_000),
    "intel-rapl:1": ("package-1", 3_000_000),
    "intel-rapl:1:0": ("dram", 40_000),
    "intel-rapl:2": ("psys", 9_000_000),
    "intel-rapl-mmio:0": ("package-0", 1_000_000),
}
"""A server with two packages, each with memory: name and microjoules by folder."""


@pytest.fixture
def sysfs(tmp_path):
    """Returns a function that writes zones below a root, each (name, microjoules) by its folder."""

    def write(zones, range_uj=RANGE_UJ):
        for folder, (name, microjoules) in zones.items():
            zone = tmp_path / "sys/class/powercap" / folder
            zone.mkdir(parents=True, exist_ok=True)
            (zone / "name").write_text(f"{name}\n")
            (zone / "energy_uj").write_text(f"{microjoules}\n")
            (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
        return tmp_path

    return write


def why_not(adapter, root, window_s=2.0):
    """Returns the origin where there must be no number, and no step must run."""

    def run(n):
        raise AssertionError("a step was run for an energy that cannot be read")

    columns = energy_columns(adapter, 0, run, 0.01, window_s, root)
    assert list(columns) == ["energy_origin"]
    return columns["energy_origin"]


def test_packages_and_their_memory_are_added_up_and_nothing_twice(sysfs):
    counters = rapl_counters(sysfs(ZONES))
    assert [(counter.origin, counter.read_j(), counter.range_j) for counter in counters] == [
        ("RAPL package-0", 1.0, RANGE_UJ * 1e-6),
        ("RAPL dram", 0.02, RANGE_UJ * 1e-6),
        ("RAPL package-1", 3.0, RANGE_UJ * 1e-6),
        ("RAPL dram", 0.04, RANGE_UJ * 1e-6),
    ]
    meter = Meter(counters)
    assert meter.origin == "RAPL package-0 + RAPL dram + RAPL package-1 + RAPL dram"
    sysfs({folder: (name, 2 * microjoules) for folder, (name, microjoules) in ZONES.items()})
    assert meter.read().joules == pytest.approx(1.0 + 0.02 + 3.0 + 0.04)


def test_a_counter_that_begins_anew_goes_on(sysfs):
    meter = Meter(rapl_counters(sysfs({"intel-rapl:0": ("package-0", RANGE_UJ - 5_000_000)})))
    sysfs({"intel-rapl:0": ("package-0", 2_000_000)})
    assert meter.read().joules == pytest.approx(7.0)
    sysfs({"intel-rapl:0": ("package-0", 3_000_000)})
    assert meter.read().joules == pytest.approx(8.0)


def test_a_counter_that_may_have_wrapped_twice_is_not_believed(sysfs, monkeypatch):
    meter = Meter(rapl_counters(sysfs(ZONES)))
    later_s = energy.perf_counter() + RANGE_UJ * 1e-6 / MOST_W + 1
    monkeypatch.setattr(energy, "perf_counter", lambda: later_s)
    with pytest.raises(EnergyUnavailable, match=r"RAPL package-0 may have wrapped twice in a block of 263 s"):
        meter.read()


def test_a_counter_that_has_no_range_never_goes_back():
    counts = iter([5.0, 4.0])
    meter = Meter([EnergyCounter("NVML board", lambda: next(counts))])
    with pytest.raises(EnergyUnavailable, match="NVML board went back from 5 to 4 J"):
        meter.read()


def test_where_there_is_no_counter_the_row_says_so(tmp_path):
    hidden = "unavailable: no RAPL counter here (a virtual machine or container hides it)"
    assert why_not(CPU, tmp_path) == hidden


def test_a_zone_that_is_no_package_is_no_counter(sysfs):
    assert "no RAPL counter here" in why_not(CPU, sysfs({"intel-rapl:0": ("psys", 1)}))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "no permission to read {}; its owner can let a group read it by a "),
        (OSError(61, "No data available"), "{} cannot be read: No data available"),
    ],
)
def test_a_counter_that_cannot_be_read_is_named(sysfs, monkeypatch, error, words):
    root, plain = sysfs(ZONES), Path.read_text

    def read_text(path):
        if path.name == "energy_uj":
            raise error
        return plain(path)

    monkeypatch.setattr(Path, "read_text", read_text)  # a test that runs as root is refused no file
    file = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    assert why_not(CPU, root).startswith(f"unavailable: {words.format(file)}")
    assert why_not(CPU, root, window_s=0.0).startswith(f"unavailable: {words.format(file)}")


def test_a_counter_that_never_moves_is_none(sysfs, monkeypatch):
    monkeypatch.setattr(energy, "PATIENCE_S", 0.01)
    assert why_not(CPU, sysfs(ZONES)).startswith("unavailable: the counter did not move in 0.01")


def test_a_preset_without_time_for_it_reads_no_energy(sysfs):
    origin = why_not(CPU, sysfs({"intel-rapl:0": ("package-0", 1)}), window_s=0.0)
    assert origin == "unavailable: RAPL package-0 is here, and the preset leaves no time to read it"


@pytest.mark.parametrize("name", ["inferentia", "jax_tpu", "null"])
def test_a_device_without_a_counter_has_no_energy_and_no_guess(name, sysfs):
    adapter = backends.get(name)
    origin = f"unavailable: no energy counter is known for the device kind {adapter.device_kind!r}"
    assert why_not(adapter, sysfs(ZONES)) == origin


class Machine:
    """A device on a clock of its own, which takes `busy_w` while steps run and `idle_w` else.

    Its counter moves every `tick_s`, and from `stops_at_s` on no more.
    """

    device_kind = "fake"

    def __init__(self, step_s, tick_s, read_s, busy_w=150.0, idle_w=30.0, range_j=0.0, count_j=0.0, stops_at_s=1e9):
        self.now = 100.0
        self.step_s, self.tick_s, self.read_s = step_s, tick_s, read_s
        self.busy_w, self.idle_w, self.range_j = busy_w, idle_w, range_j
        self.joules = self.counted_j = count_j
        self.stops_at_s = self.now + stops_at_s
        self.blocks = []

    def spend(self, seconds, watts):
        tick_at = (self.now + seconds) // self.tick_s * self.tick_s
        if self.now < tick_at < self.stops_at_s:
            self.counted_j = self.joules + watts * (tick_at - self.now)
        self.now += seconds
        self.joules += watts * seconds

    def run(self, n):
        self.blocks.append(n)
        self.spend(n * self.step_s, self.busy_w)

    def sleep(self, seconds):
        self.spend(seconds, self.idle_w)

    def read_j(self):
        self.sleep(self.read_s)
        return self.counted_j % self.range_j if self.range_j else self.counted_j

    def energy_counter(self, index):
        return EnergyCounter(f"counter {index}", self.read_j, self.range_j)


@pytest.fixture
def columns_of(monkeypatch):
    def measure(machine, window_s):
        monkeypatch.setattr(energy, "perf_counter", lambda: machine.now)
        monkeypatch.setattr(energy, "sleep", machine.sleep)
        return energy_columns(machine, 1, machine.run, machine.step_s, window_s)

    return measure


RAPL = {"tick_s": 1e-3, "read_s": 2e-5}
NVML = {"tick_s": 0.1, "read_s": 2e-3}


@pytest.mark.parametrize("counter", [RAPL, NVML], ids=["RAPL", "NVML"])
@pytest.mark.parametrize("step_s", [5.0, 0.3, 3e-3, 2e-5])
@pytest.mark.parametrize("window_s", [2.0, 10.0])
def test_the_energy_of_a_step_is_what_the_machine_took(columns_of, counter, step_s, window_s):
    machine = Machine(step_s, **counter)
    found = columns_of(machine, window_s)
    assert found["energy_origin"] == "measured: counter 1"
    near = 1.1 * counter["tick_s"] / window_s + energy.READ_SHARE
    assert found["energy_per_step_j"] == pytest.approx(150 * step_s, rel=near)
    assert found["energy_per_step_above_idle_j"] == pytest.approx(120 * step_s, rel=1.5 * near)
    assert found["idle_power_w"] == pytest.approx(30.0, rel=near)
    assert found["energy_window_s"] >= window_s


def test_windows_begin_and_end_at_a_tick(columns_of):
    found = columns_of(Machine(1e-3, tick_s=0.15, read_s=1e-5), 2.0)
    measured = [found[name] for name in ("energy_per_step_j", "energy_per_step_above_idle_j", "idle_power_w")]
    assert measured == pytest.approx([0.15, 0.12, 30.0], rel=0.02)


def test_reading_takes_little_of_the_time(columns_of):
    machine = Machine(3e-3, **NVML)
    columns_of(machine, 2.0)
    assert set(machine.blocks) == {round(2e-3 / energy.READ_SHARE / 3e-3)}


def test_a_wrap_around_within_the_window_changes_nothing(columns_of):
    plain = columns_of(Machine(0.01, **RAPL), 2.0)
    assert columns_of(Machine(0.01, **RAPL, range_j=2000.0, count_j=1900.0), 2.0) == pytest.approx(plain)


def test_too_short_a_window_has_no_number_and_runs_no_step(columns_of):
    machine = Machine(0.01, tick_s=0.3, read_s=1e-3)
    assert columns_of(machine, 2.0) == {
        "energy_origin": "unavailable: window too short: 2 s, and the counter moves every 0.3 s; 10 times are needed"
    }
    assert machine.blocks == []


def test_a_counter_that_stops_has_no_number(columns_of):
    for stops_at_s in (0.5, 2.2):  # while steps run, while nothing runs
        found = columns_of(Machine(0.01, **RAPL, stops_at_s=stops_at_s), 2.0)
        assert list(found) == ["energy_origin"]
        assert found["energy_origin"].startswith("unavailable: the counter did not move in 1")


@pytest.mark.parametrize("counters", [rapl_counters, lambda: (_nvidia.energy_counter(0),)], ids=["RAPL", "NVML"])
def test_a_real_counter_counts_what_a_device_can_take(counters):
    try:
        meter = Meter(counters())
    except EnergyUnavailable as why:
        pytest.skip(str(why))
    begin = meter.after_tick()
    sleep(0.5)
    meter.read()
    end = meter.after_tick()
    assert 0.1 < (end.joules - begin.joules) / (end.at_s - begin.at_s) < MOST_W * len(meter.counters)


def test_a_child_tells_the_energy_of_its_step(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "count@energy")
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    suite.effort = replace(suite.effort, energy_s=0.1)
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["energy_origin"]) == ("ok", "measured: fake counter")
    assert row["energy_window_s"] >= 0.1
    assert row["energy_per_step_j"] > 0
    assert row["idle_power_w"] > 0
    assert row["energy_per_step_above_idle_j"] < row["energy_per_step_j"]


def test_a_child_without_a_counter_says_why(tmp_path):
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    row = make_row(**suite.run(CELL).columns)
    assert (row["status"], row["energy_per_step_j"]) == ("ok", None)
    assert row["energy_origin"] == "unavailable: no energy counter is known for the device kind 'fake'"
