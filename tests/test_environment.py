"""What a child is given before it starts: variables, threads, where modules are found."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import backends
from backends._outside import declaration_faults
from backends.null import Null
from bench.parent.environment import ALLOWED, ROOT, THREAD_VARIABLES, child_environment, job_paths
from host.topology import usable_cpus
from tests.fakes.bench import CELL, faulty_suite, filled_cache


def test_a_child_has_our_thread_counts():
    given = child_environment(dict.fromkeys(THREAD_VARIABLES, "64"), 2)
    assert {name: given[name] for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "2")


STEERING = [
    *("KMP_AFFINITY", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "MKL_DYNAMIC", "OPENBLAS_CORETYPE", "NUMEXPR_MAX_THREADS"),
    *("XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "ONEDNN_VERBOSE", "DNNL_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS"),
    *("ATEN_CPU_CAPABILITY", "THP_MEM_ALLOC_ENABLE", "NPY_DISABLE_CPU_FEATURES", "ORT_DISABLE_ALL", "NPROC"),
    *("TORCHINDUCTOR_FREEZING", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF", "TRITON_INTERPRET"),
    *("CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_CACHE_DISABLE", "CUDA_MODULE_LOADING"),
    *("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUDNN_LOGDEST_DBG"),
    *("LIBTPU_INIT_ARGS", "TPU_MEGACORE", "NEURON_CC_FLAGS", "NEURON_FUSE_SOFTMAX", "NEURON_RT_STOCHASTIC_ROUNDING_EN"),
    *("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD", "LD_BIND_NOW", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"),
    *("PYTHONPATH", "PYTHONOPTIMIZE", "PYTHONMALLOC", "PYTHONTRACEMALLOC", "PYTHONDEVMODE", "PYTHONHOME"),
    *("OV_CPU_PROPERTIES", "OPENVINO_LOG_LEVEL", "HSA_OVERRIDE_GFX_VERSION", "A_LIBRARY_OF_NEXT_YEAR"),
]


@pytest.mark.parametrize("name", STEERING)
def test_what_steers_a_framework_does_not_reach_a_child(name):
    assert name not in child_environment({name: "1"}, 1)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "SAMESTEP_CACHE"),
        *("LANG", "LANGUAGE", "LC_ALL", "LC_NUMERIC", "TZ", "LD_LIBRARY_PATH", "PYTHONNOUSERSITE"),
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "ROCR_VISIBLE_DEVICES"),
        *("TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES", "TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_PROCESS_BOUNDS"),
        *("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"),
    ],
)
def test_whose_it_is_where_it_is_and_which_devices_it_may_see_reaches_a_child(name):
    assert child_environment({name: "0"}, 1)[name] == "0"


@pytest.mark.parametrize("pattern", ALLOWED)
def test_the_list_is_that_of_the_docs(pattern):
    assert f"`{pattern}`" in (ROOT / "docs" / "measuring.md").read_text()


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("torch_compile_cpu", "CXX"),
        ("torch_compile_cuda", "CC"),
        ("torch_compile_cuda", "CUDA_HOME"),
        ("jax_cuda", "CUDA_HOME"),
        ("jax_tpu", "TPU_LIBRARY_PATH"),
    ],
)
def test_what_an_adapter_asks_for_reaches_its_children_alone(backend, name):
    asked = backends.get(backend).environment
    assert child_environment({name: "x", "OTHER": "y"}, 1, asked).get(name) == "x"
    assert name not in child_environment({name: "x"}, 1)
    assert "OTHER" not in child_environment({"OTHER": "y"}, 1, asked)


def test_nothing_overrides_what_all_children_have():
    asked = ("OMP_NUM_THREADS", "PYTHONHASHSEED", "CUDA_DEVICE_ORDER")
    given = child_environment(dict.fromkeys(asked, "9"), 1, asked)
    assert [given[name] for name in asked] == ["1", "0", "PCI_BUS_ID"]


@pytest.mark.parametrize("value", ["CXX", ("CXX", 1), None])
def test_an_adapter_that_asks_for_something_else_than_names_is_told(value):
    class Declared(Null):
        verifiable, environment = True, value

    assert declaration_faults(Declared()) == [f"environment must be a tuple of str, got {value!r}"]


def test_hashes_are_the_same_in_every_child():
    assert child_environment({"PYTHONHASHSEED": "random"}, 1)["PYTHONHASHSEED"] == "0"


def test_the_parent_keeps_its_own():
    parent = {"OMP_NUM_THREADS": "64"}
    child_environment(parent, 1)
    assert parent == {"OMP_NUM_THREADS": "64"}


@pytest.mark.parametrize("threads", [1, len(usable_cpus())])
def test_a_cell_runs_with_its_threads_on_as_many_cpus(tmp_path, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    suite = faulty_suite(filled_cache(tmp_path / "cache"), tmp_path)
    effective = json.loads(suite.run(replace(CELL, threads=threads)).columns["effective"])
    assert (effective["omp_num_threads"], effective["cpus"]) == (str(threads), threads)


SPEAKING = """
import os
from dataclasses import replace
from tests.fakes.faulty import Faulty, FaultyStep
import helper_found_through_the_path

class SpeakingStep(FaultyStep):
    def effective(self):
        effective = super().effective()
        variables = {name: os.environ.get(name, "") for name in ("ASKED", "ATEN_CPU_CAPABILITY")}
        return replace(effective, more={**effective.more, **variables})

class Speaking(Faulty):
    environment = ("ASKED",)
    def prepare(self, request):
        return SpeakingStep(request.precision, request.phase == "infer")
"""


@pytest.fixture
def speaking(tmp_path, monkeypatch):
    """An adapter that lies on the parent's path, beside a module that it imports, and says what its child has."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "speaking.py").write_text(SPEAKING)
    (tmp_path / "outside" / "helper_found_through_the_path.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "outside")
    import speaking

    yield speaking.Speaking()
    for name in ("speaking", "helper_found_through_the_path"):
        del sys.modules[name]


def test_what_was_found_on_the_parents_path_is_found_by_its_child(tmp_path, monkeypatch, speaking):
    monkeypatch.setenv("ASKED", "passed on")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    suite = replace(faulty_suite(filled_cache(tmp_path / "cache"), tmp_path), find_adapter=lambda name: speaking)
    columns = suite.run(CELL).columns
    assert columns["status"] == "ok", columns["reason"]
    effective = json.loads(columns["effective"])
    assert (effective["ASKED"], effective["ATEN_CPU_CAPABILITY"]) == ("passed on", "")


def test_a_childs_paths_are_the_parents_without_the_interpreters_and_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / name for name in ("b", "a", "lib/python3/site-packages")]
    for folder in folders:
        folder.mkdir(parents=True)
    own = [entry for entry in sys.path if entry]
    path = ["", *own, "a", str(tmp_path / "b"), str(tmp_path / "lib/python3/site-packages"), "missing", str(ROOT), "b"]
    found = job_paths(path)
    assert found[-4:] == (*(str(tmp_path / name) for name in ("a", "b", "lib/python3/site-packages")), str(tmp_path))
    assert str(ROOT) not in found
    assert not [entry for entry in found if str(Path(os.__file__).parent) in entry]


def test_our_own_checkout_is_no_path_of_a_child_by_another_name(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "link").symlink_to(ROOT)
    assert job_paths(["", str(tmp_path / "link"), str(ROOT)]) == ()
