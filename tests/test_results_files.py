"""A file is whole or absent, whatever happens on the way."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from results.record.files import AtomicPath, ResultsError, write_atomic

ROOT = Path(__file__).resolve().parent.parent


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


def test_a_link_is_followed_and_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("middle")
    (tmp_path / "middle").symlink_to("elsewhere/a.txt")
    for content in ("new", "newer"):  # at first what it leads to is not there
        write_atomic(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "middle").is_symlink()
        assert (tmp_path / "elsewhere" / "a.txt").read_text() == content
    assert names_in(tmp_path / "elsewhere") == ["a.txt"]


def test_a_circle_of_links_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"symbolic links.*a'"):
        write_atomic(tmp_path / "a", "new")


@pytest.mark.parametrize("through", ["pipe", "link"])
def test_a_named_pipe_is_written_into(tmp_path, through):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    content = "x" * 200_000  # more than a pipe holds
    with ThreadPoolExecutor() as pool:
        reading = pool.submit((tmp_path / "pipe").read_text)
        write_atomic(tmp_path / through, content)
        assert reading.result() == content
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written_into(tmp_path):
    mode = Path(os.devnull).stat().st_mode
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (Path(os.devnull), tmp_path / "null"):
        write_atomic(path, "new")
    assert Path(os.devnull).stat().st_mode == mode
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write_atomic(Path("/dev/full"), "new")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "{link}"])
@pytest.mark.parametrize("where", ["file", "pipe"])
def test_standard_output_is_written_behind_what_was_printed(tmp_path, name, where):
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = "import sys; from pathlib import Path; from results.record.files import write_atomic;"
    code += "print('before'); write_atomic(Path(sys.argv[1]), 'content\\n'); print('after')"
    command = [sys.executable, "-c", code, name.format(link=tmp_path / "link")]
    with (tmp_path / "out").open("w") as out:
        to = out if where == "file" else subprocess.PIPE
        done = subprocess.run(command, stdout=to, cwd=ROOT, text=True, check=True)
    printed = (tmp_path / "out").read_text() if where == "file" else done.stdout
    assert printed == "before\ncontent\nafter\n"


def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_atomic(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_replaced_is_written_into(tmp_path, monkeypatch, number):
    path = tmp_path / "a.txt"  # mounted by itself into a container, or ours in somebody else's folder
    path.write_text("something older and longer")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["a.txt"]
    with pytest.raises(OSError, match=r"absent\.txt"):
        write_atomic(tmp_path / "absent.txt", "new")


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomic(path, "new")
    AtomicPath(path).commit("newer")
    assert path.read_text() == "newer"


def test_a_writer_of_its_own_reaches_links_pipes_and_devices(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        reading = pool.submit((tmp_path / "pipe").read_text)
        for name in ("link", "pipe", os.devnull):
            path = AtomicPath(tmp_path / name)
            Path(path).write_text("new")
            assert (tmp_path / "target").read_text() == ("old" if name == "link" else "new")
            path.commit("nothing")
            assert not path.temporary.exists()
        assert reading.result() == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    assert (tmp_path / "pipe").is_fifo()
    assert not Path(os.devnull).is_file()
    assert sorted(names_in(tmp_path)) == ["link", "pipe", "target"]


def test_a_writer_of_its_own_is_told_at_the_begin_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ResultsError, match=r"a\.json: .*absent is no folder"):
        AtomicPath(tmp_path / "absent" / "a.json")
