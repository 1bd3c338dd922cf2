"""What happened while a child was measured: read from files as the kernel writes them, added up over the spans."""

import os
import subprocess
import sys
from dataclasses import replace
from time import perf_counter, process_time

import pytest

from backends.base import DeviceReading
from bench.child import conditions
from bench.child.conditions import Watch, read
from host import cgroup

TICK = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path):
    """Returns a function that writes files below a root, by their paths."""

    def write(**files):
        for path, text in files.items():
            file = tmp_path / path.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


def test_the_kernels_files_are_read(machine):
    root = machine(
        proc__stat="cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 100 10 20 5000 7 3 2 40 90 0\ncpu1 900 0 0 0 0 0 0 900 0 0\nctxt 5\n",
        proc__pressure__cpu="some avg10=0.00 avg60=0.00 avg300=0.32 total=2500000\nfull avg10=0 total=9\n",
        proc__pressure__memory="some avg10=0.00 avg60=0.00 avg300=0.00 total=10\n",
        proc__vmstat="nr_free_pages 7\npswpin 3\npswpout 4\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_cur_freq="3100000\n",
        sys__devices__system__cpu__cpu0__thermal_throttle__core_throttle_count="6\n",
    )
    found = read([0], root)
    assert found.busy_s == pytest.approx(135 * TICK)  # user, nice, system, irq, softirq of cpu0
    assert found.steal_s == pytest.approx(40 * TICK)
    assert (found.cpu_pressure_s, found.memory_pressure_s) == pytest.approx((2.5, 1e-5))
    assert found.swapped_pages == 7
    assert (found.frequency_hz, found.thermal_events) == (3.1e9, 6)


def test_what_a_system_does_not_tell_is_unknown(tmp_path):
    found = read([0], tmp_path)
    unknown = ("busy_s", "steal_s", "cpu_pressure_s", "swapped_pages", "frequency_hz", "thermal_events")
    assert [getattr(found, name) for name in unknown] == [None] * len(unknown)
    assert found.throttled_s == {}
    assert found.cpu_s > 0


@pytest.mark.parametrize(
    ("files", "throttled_s"),
    [
        (
            {
                "proc__self__cgroup": "0::/a/b\n",
                "sys__fs__cgroup__a__cpu.stat": "usage_usec 5\nthrottled_usec 1500000\n",
                "sys__fs__cgroup__a__b__cpu.stat": "usage_usec 5\nthrottled_usec 7\n",
            },
            {"/sys/fs/cgroup/a/b": 7e-6, "/sys/fs/cgroup/a": 1.5},
        ),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/a\n0::/\n",
                "sys__fs__cgroup__cpu__a__cpu.stat": "nr_throttled 2\nthrottled_time 1500000000\n",
            },
            {"/sys/fs/cgroup/cpu/a": 1.5},
        ),
        ({"proc__self__cgroup": "no colons\n\n0::/\n", "sys__fs__cgroup__cpu.stat": "throttled_usec many\n"}, {}),
    ],
    ids=["version 2, and of a group above", "version 1", "not as it should be"],
)
def test_time_without_a_cpu_for_its_quota(machine, files, throttled_s):
    assert cgroup.throttled_s(machine(**files)) == pytest.approx(throttled_s)


@pytest.mark.parametrize(
    "files",
    [
        {"proc__self__cgroup": "0::/a\n", "sys__fs__cgroup__a__memory.events": "low 0\noom 1\noom_kill 2\n"},
        {
            "proc__self__cgroup": "4:memory:/a\n0::/\n",
            "sys__fs__cgroup__memory__a__memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_kills_for_memory(machine, files):
    assert cgroup.memory_kills(machine(**files)) == 2


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/a/b\n", "sys__fs__cgroup__{}memory.events"),
        ("4:memory:/a/b\n", "sys__fs__cgroup__memory__{}memory.oom_control"),
    ],
    ids=["version 2 with local events", "version 1"],
)
def test_a_kill_is_seen_beside_more_kills_of_a_group_above(machine, groups, file):
    """The parent group killed ten before; ours kills its first while we watch."""
    ours = {"proc__self__cgroup": groups, file.format("a__"): "oom_kill 10\n", file.format("a__b__"): "oom_kill 0\n"}
    before = cgroup.memory_kills(machine(**ours))
    assert cgroup.memory_kills(machine(**ours | {file.format("a__b__"): "oom_kill 1\n"})) > before


def test_a_machine_without_groups_kills_nothing(tmp_path):
    assert (cgroup.memory_kills(tmp_path), cgroup.throttled_s(tmp_path)) == (0, {})


def test_a_group_above_that_was_throttled_for_longer_hides_nothing(machine):
    """The group above was stopped for 100 s before, ours for 5 s while it was watched."""
    groups = {"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__cpu.stat": "throttled_usec 100000000\n"}
    ours = "sys__fs__cgroup__a__b__cpu.stat"
    readings = [
        replace(STILL, at_s=at_s, throttled_s=read([0], machine(**groups, **{ours: text})).throttled_s)
        for at_s, text in ((0.0, "throttled_usec 0\n"), (10.0, "throttled_usec 5000000\n"))
    ]
    assert watched(readings)["throttled_share"] == 0.5


STILL = conditions.Reading(
    at_s=100.0,
    cpu_s=1.0,
    thread_s={"1": 1.0},
    involuntary_switches=0,
    major_faults=0,
    busy_s=50.0,
    steal_s=0.0,
    cpu_pressure_s=0.0,
    memory_pressure_s=0.0,
    swapped_pages=0,
    throttled_s={"/ours": 0.0},
    thermal_events=0,
    frequency_hz=3e9,
)


def watched(*spans):
    """Returns the columns of a watch over spans, each (begin, end)."""
    readings = iter([reading for span in spans for reading in span])
    watch = Watch(lambda: next(readings))
    for _ in spans:
        with watch:
            pass
    return watch.columns()


def test_what_others_took_is_what_was_not_ours():
    end = replace(STILL, at_s=110.0, cpu_s=16.0, busy_s=70.0, steal_s=0.5, thread_s={"1": 11.0, "2": 5.0, "3": 0.1})
    found = watched((STILL, end))
    assert found["watched_s"] == 10.0
    assert (found["cpu_cores_used"], found["other_load_cores"], found["steal_cores"]) == (1.5, 0.5, 0.05)
    assert found["threads_running"] == 2  # the third ran for 1 % of the time


@pytest.mark.parametrize(
    ("throttled_s", "share"),
    [
        (
            [
                ({"/": 9.0, "/ours": 1.0}, {"/": 9.5, "/ours": 3.0}),
                ({"/": 20.0, "/ours": 7.0}, {"/": 20.0, "/ours": 8.0}),
            ],
            0.15,
        ),
        ([({"/left": 1.0}, {"/joined": 50.0})] * 2, None),
        ([({}, {})] * 2, None),
    ],
    ids=["grows are added by group", "no group was there twice", "no group says"],
)
def test_throttling_is_that_of_the_group_that_was_stopped_longest(throttled_s, share):
    spans = [
        (replace(STILL, at_s=100.0 * n, throttled_s=a), replace(STILL, at_s=100.0 * n + 10, throttled_s=b))
        for n, (a, b) in enumerate(throttled_s)
    ]
    assert watched(*spans)["throttled_share"] == share


def test_load_on_the_other_half_of_a_core_is_anothers(machine):
    """CPU 2 shares its core with CPU 0, which the child has; CPU 3 shares with CPU 1, which it has not."""
    siblings = {
        f"sys__devices__system__cpu__cpu{c}__topology__thread_siblings_list": f"{c % 2},{c % 2 + 2}\n" for c in range(4)
    }

    def busy(second):
        return "".join(f"cpu{cpu} {ticks} 0 0 0 0 0 0 0 0 0\n" for cpu, ticks in enumerate((500, 0, second, 900)))

    begin, end = (read([0], machine(**siblings, proc__stat=busy(ticks))) for ticks in (0, 800))
    found = watched((replace(begin, at_s=0.0, cpu_s=0.0), replace(end, at_s=10.0, cpu_s=0.0)))
    assert found["other_load_cores"] == pytest.approx(800 * TICK / 10)


def test_time_between_the_spans_does_not_count():
    first = replace(STILL, at_s=101.0, cpu_s=2.0, busy_s=51.0)
    later = replace(STILL, at_s=500.0, cpu_s=90.0, busy_s=900.0)
    last = replace(later, at_s=503.0, cpu_s=93.0, busy_s=903.0)
    found = watched((STILL, first), (later, last))
    assert (found["watched_s"], found["cpu_cores_used"], found["other_load_cores"]) == (4.0, 1.0, 0.0)


def test_the_largest_change_of_frequency_counts():
    slow = replace(STILL, at_s=110.0, frequency_hz=2.7e9)
    found = watched((STILL, slow), (slow, replace(STILL, at_s=120.0)))
    assert (found["cpu_frequency_hz"], found["cpu_frequency_change"]) == (3e9, pytest.approx(-0.1))


def test_what_is_counted_in_ticks_is_not_asked_of_a_moment():
    end = replace(STILL, at_s=100.4, busy_s=50.4, steal_s=0.1)
    found = watched((STILL, end))
    assert (found["other_load_cores"], found["steal_cores"]) == (None, None)


def test_what_is_unknown_has_no_column():
    end = replace(STILL, at_s=110.0, steal_s=None, frequency_hz=None)
    found = watched((STILL, end))
    assert (found["steal_cores"], found["cpu_frequency_change"]) == (None, None)


def test_a_device_that_slowed_down():
    cool = DeviceReading(clock_hz=2e9, temperature_c=50, throttled_s=1.0, power_capped_s=2.0)
    hot = DeviceReading(1.5e9, 88, ("hw_thermal",), throttled_s=1.25, power_capped_s=2.0, other_processes=1)
    found = watched((replace(STILL, device=cool), replace(STILL, at_s=110.0, device=hot)))
    assert {name: value for name, value in found.items() if name.startswith("device_")} == {
        "device_clock_hz": 2e9,
        "device_clock_change": -0.25,
        "device_temperature_c": 88,
        "device_throttle_reasons": "hw_thermal",
        "device_throttled_s": 0.25,
        "device_power_capped_s": 0.0,
        "device_other_processes": 1,
        "device_memory_errors": 0,
    }


@pytest.mark.parametrize(
    ("before", "listed", "others"),
    [
        (set(), {4711}, 0),  # ours, under an id of the host
        (set(), {4711, 815}, 1),
        ({815}, {815, 4711}, 1),
        ({815}, {4711}, 0),
        ({815}, {815}, 1),  # the driver does not list us
        (None, {4711}, 0),
        (set(), set(), 0),
    ],
)
def test_of_what_came_onto_the_device_one_process_is_ours(before, listed, others):
    reading = DeviceReading(other_processes=len(listed), processes=frozenset(listed))
    first = None if before is None else DeviceReading(processes=frozenset(before))
    assert conditions.other_processes(reading, first) == others


def test_an_adapter_that_counts_by_itself_is_believed():
    assert conditions.other_processes(DeviceReading(other_processes=2), DeviceReading()) == 2


def test_our_own_work_is_seen_as_ours():
    cpus = sorted(os.sched_getaffinity(0))
    watch = Watch(lambda: read(cpus))
    with watch:
        end = process_time() + 0.3
        while process_time() < end:
            pass
    found = watch.columns()
    assert found["cpu_cores_used"] * found["watched_s"] == pytest.approx(0.3, abs=0.1)
    assert found["threads_running"] >= 1


def test_a_burner_beside_us_is_seen_as_anothers():
    cpus = sorted(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            watch = Watch(lambda: read(cpus))
            with watch:
                end = perf_counter() + 0.5
                while perf_counter() < end:
                    pass
        finally:
            burner.kill()
    assert watch.columns()["other_load_cores"] > 0.25
