"""Which machine it is, from files: the same after an update, another where the hardware is another."""

import os
import re

import pytest

from host import files
from host.machine import MachineNameError, describe_machine, describe_software, machine_id
from results.record.text import slug
from tests.fakes.door import bench

GIB = 2**30
HARDWARE = {
    "cpu": "AMD EPYC 9654 96-Core Processor",
    "architecture": "x86_64",
    "logical_cores": 4,
    "physical_cores": 2,
    "accelerators": ["10de:2330"],
    "memory_bytes": int(15.4 * GIB),
}

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9654 96-Core Processor
processor\t: 1
model name\t: another
"""


def write_all(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.fixture
def root(tmp_path):
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    pci = "sys/bus/pci/devices/0000:0{}:00.0/{}"
    write_all(
        tmp_path,
        {
            "proc/cpuinfo": CPUINFO,
            "proc/meminfo": "MemTotal:       16147456 kB\nMemFree:         1000 kB\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
            **{siblings.format(cpu): f"{cpu % 2},{cpu % 2 + 2}\n" for cpu in range(4)},
            pci.format(1, "class"): "0x030200\n",
            pci.format(1, "vendor"): "0x10de\n",
            pci.format(1, "device"): "0x2330\n",
            pci.format(2, "class"): "0x020000\n",
            pci.format(3, "class"): "0x120000\n",
            pci.format(3, "vendor"): "0x1ae0\n",
            pci.format(3, "device"): "0x0063\n",
        },
    )
    return tmp_path


def test_a_linux_machine_is_described(root):
    machine = describe_machine(root, {"SAMESTEP_MACHINE": "GPU Box #7"})
    known = ("name", "cpu", "physical_cores", "accelerators", "memory_bytes", "os")
    assert {name: machine[name] for name in known} == {
        "name": "GPU Box #7",  # whoever writes a run makes a slug of it
        "cpu": "AMD EPYC 9654 96-Core Processor",
        "physical_cores": 2,
        "accelerators": ["10de:2330", "1ae0:0063"],
        "memory_bytes": 16147456 * 1024,
        "os": "Debian GNU/Linux 12 (bookworm)",
    }
    assert machine["logical_cores"] == os.cpu_count()
    assert re.fullmatch("[0-9a-f]{12}", machine["machine_id"])


def test_this_machine_is_described():
    machine = describe_machine()
    assert list(machine) == [
        *("name", "machine_id", "cpu", "architecture", "logical_cores", "physical_cores", "accelerators"),
        *("memory_bytes", "usable_cores", "os", "kernel", "python"),
    ]
    assert re.fullmatch("[a-z0-9-]{1,40}", slug(machine["name"]))
    assert machine == describe_machine()


def test_a_system_without_these_files_leaves_them_unknown(tmp_path):
    machine = describe_machine(tmp_path, {})
    assert [name for name, value in machine.items() if value is None] == [
        *("cpu", "physical_cores", "accelerators", "memory_bytes"),
    ]


def test_a_processor_without_a_name_is_known_by_its_codes(root):
    (root / "proc/cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n")
    assert describe_machine(root)["cpu"] == "ARM implementer 0x41 part 0xd4f"


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "AMD EPYC 9754"},
        {"logical_cores": 8},
        {"physical_cores": 4},
        {"memory_bytes": 31 * GIB},
        {"architecture": "aarch64"},
        {"accelerators": []},
    ],
)
def test_other_hardware_is_another_machine(change):
    assert machine_id({**HARDWARE, **change}) != machine_id(HARDWARE)


def test_the_id_of_this_hardware_stays():
    """Series on disk hang on it: a change here needs an entry in the changelog."""
    assert machine_id(HARDWARE) == "1cfee602d9ce"


@pytest.mark.parametrize("memory_gib", [14.9, 15.2, 15.9, 16.0])
def test_a_kernel_that_keeps_another_share_of_the_memory_is_the_same_machine(memory_gib):
    assert machine_id({**HARDWARE, "memory_bytes": int(memory_gib * GIB)}) == machine_id(HARDWARE)


def test_unknown_hardware_has_an_id_too():
    assert re.fullmatch("[0-9a-f]{12}", machine_id(dict.fromkeys(HARDWARE)))


def test_software_and_name_are_not_in_the_id(root):
    before = describe_machine(root, {"SAMESTEP_MACHINE": "a"})
    (root / "etc/os-release").write_text('PRETTY_NAME="Debian GNU/Linux 13"\n')
    after = describe_machine(root, {"SAMESTEP_MACHINE": "b"})
    assert (before["os"], before["name"]) != (after["os"], after["name"])
    assert before["machine_id"] == after["machine_id"]


@pytest.mark.parametrize(
    ("groups", "files", "usable"),
    [
        ("0::/a/b\n", {}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 4),
        ("4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
        # In a container, the path is the host's and the mount is the container's own.
        ("4:cpu:/docker/x\n", {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ("9:memory:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_usable_cores_are_those_of_the_smallest_limit(root, monkeypatch, groups, files, usable):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    write_all(root, {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    assert describe_machine(root)["usable_cores"] == usable


def test_without_affinity_all_cores_are_usable(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert describe_machine(tmp_path)["usable_cores"] == os.cpu_count()


def test_a_given_name_without_letters_is_refused(tmp_path):
    with pytest.raises(MachineNameError, match="SAMESTEP_MACHINE is '##'; expected a name with letters or digits"):
        describe_machine(tmp_path, {"SAMESTEP_MACHINE": "##"})


def test_a_name_that_cannot_be_used_ends_in_one_line(tmp_path):
    done = bench("--preset", "smoke", "--backends", "null", cwd=tmp_path, SAMESTEP_MACHINE="机器")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: SAMESTEP_MACHINE is '机器'; expected a name with letters or digits" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def refused(*_, **__):
    raise PermissionError("Operation not permitted")


def test_what_may_not_be_read_is_unknown(root, monkeypatch):
    for name in ("read_text", "iterdir", "exists"):
        monkeypatch.setattr(files.Path, name, refused)
    machine = describe_machine(root, {})
    assert [name for name, value in machine.items() if value is None] == [
        *("cpu", "physical_cores", "accelerators", "memory_bytes"),
    ]
    assert describe_software(root)["drivers"] == {}


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "nonsense\n0:/\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "many few\n"},
        {"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "5\n"},
        {"proc/meminfo": "MemTotal: lots\nMemTotal\n", "proc/cpuinfo": "model name\n\n:\n"},
    ],
)
def test_what_has_another_form_is_unknown(tmp_path, monkeypatch, files):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    write_all(tmp_path, files)
    machine = describe_machine(tmp_path, {})
    assert (machine["usable_cores"], machine["cpu"], machine["memory_bytes"]) == (8, None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("node-01.cluster.local", "node-01-cluster-local"),
        ("../../etc", "etc"),
        ("日本", "machine"),
        ("", "machine"),
        ("a" * 39 + ".b", "a" * 39),
        ("A" * 60, "a" * 40),
    ],
)
def test_a_slug_is_safe_in_a_path(name, expected):
    assert slug(name) == expected
