"""Several artifacts at once: as many as the machine holds, each once, and no child left whatever happens."""

import os
from functools import partial
from threading import Thread

import pytest

from bench.artifacts import BATCHES, PARAMETERS
from bench.parent.cache import Cache, entry_name
from bench.parent.children import crew as crews
from bench.parent.children.crew import MEMORY_PER_MAKER_BYTES, Crew, makers
from tests.fakes.bench import CELL, faulty_suite
from tests.fakes.door import wait_for, workers_of
from workloads.precision import FP32


@pytest.mark.parametrize(
    ("cores", "free_makers", "expected"), [(2, 3.0, 2), (8, 3.5, 3), (2, 0.5, 1), (1, 9.0, 1)], ids=str
)
def test_as_many_makers_as_cores_and_memory_allow(tmp_path, monkeypatch, cores, free_makers, expected):
    (tmp_path / "proc").mkdir()
    free_kb = int(free_makers * MEMORY_PER_MAKER_BYTES) // 1024
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:  99 kB\nMemAvailable: {free_kb} kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(crews, "usable_cpus", lambda: tuple(range(cores)))
    assert makers(tmp_path) == expected


def test_one_maker_where_the_memory_is_unknown(tmp_path):
    assert makers(tmp_path) == 1


def test_what_a_task_raises_is_raised():
    def fail():
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"), Crew(2) as crew:
        crew.run([lambda: None, fail])


def test_what_is_missing_is_made_once_for_all_cells(tmp_path):
    said = []
    suite = faulty_suite(Cache(tmp_path / "cache", said.append), tmp_path)
    suite.prepare([CELL, CELL])
    workload = CELL.load_workload()
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        entry_name(kind, workload, CELL.phase, FP32) for kind in (PARAMETERS, BATCHES)
    }
    assert len(said) == 4  # begin and end of each
    suite.prepare([CELL])
    assert suite.run(CELL).columns["status"] == "ok"
    assert len(said) == 4


def test_a_cell_that_will_not_start_needs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_FAKE", "absent@probe")
    faulty_suite(Cache(tmp_path / "cache", print), tmp_path).prepare([CELL])
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_made_is_left_to_its_cells(tmp_path):
    (tmp_path / "file").touch()
    suite = faulty_suite(Cache(tmp_path / "file" / "cache", lambda text: None), tmp_path)
    suite.prepare([CELL])
    assert suite.run(CELL).columns["status"] == "error"


def hanging_job(folder):
    """Returns a job whose child waits for ever: nobody writes into the pipe that it reads."""
    os.mkfifo(folder / "parameters.safetensors")
    return {
        "job": "artifact",
        "kind": "batches",
        "cell": CELL.__dict__,
        "folder": str(folder),
        "inputs": {"parameters": str(folder)},
        "cpus": None,
    }


def test_ctrl_c_ends_every_child(tmp_path):
    job = hanging_job(tmp_path)
    with pytest.raises(KeyboardInterrupt), Crew(2) as crew:
        threads = [Thread(target=partial(crew.launch, job, tmp_path / f"log{i}", 1, None)) for i in range(2)]
        for thread in threads:
            thread.start()
        assert wait_for(lambda: len(workers_of(os.getpid())) == 2)
        raise KeyboardInterrupt
    for thread in threads:
        thread.join()
    assert workers_of(os.getpid()) == []


def test_a_child_that_comes_too_late_is_ended(tmp_path):
    with Crew(1) as crew:
        pass
    assert crew.launch(hanging_job(tmp_path), tmp_path / "log", 1, None).status == "crashed"
