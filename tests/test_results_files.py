"""A file is whole or absent, whatever happens on the way."""

import os

import pytest

from results.record.files import write_atomic


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_text_is_written_as_it_is(tmp_path):
    write_atomic(tmp_path / "a.txt", "é\r\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\nb\n"
    write_atomic(tmp_path / "a.txt", b"\xff")
    assert (tmp_path / "a.txt").read_bytes() == b"\xff"
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_nothing_else(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.txt", "new")
    assert names_in(tmp_path) == []


def test_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    synced, replaced = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append("fsync"), synced(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (seen.append("replace"), replaced(*paths)))
    write_atomic(tmp_path / "a.txt", "new")
    assert seen == ["fsync", "replace", "fsync"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "absent" / "a.txt", "new")


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    kinds = {"absent/a.txt": FileNotFoundError, "file/a.txt": NotADirectoryError, "folder": IsADirectoryError}
    for name, kind in kinds.items():
        with pytest.raises(kind) as caught:
            write_atomic(tmp_path / name, "new")
        assert caught.value.filename == str(tmp_path / name)
    assert sorted(names_in(tmp_path)) == ["file", "folder"]
