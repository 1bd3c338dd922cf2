"""Two boards of one kind are two machines: an id of the installation, which tells nothing of what it is made from."""

import re

import pytest

from host.installation import installation_id

SYSTEM = "0123456789abcdef0123456789abcdef"


def system(root, machine_id=SYSTEM, serial=None, name="etc/machine-id"):
    """Returns a root with these files."""
    for path, text in ((name, machine_id), ("sys/firmware/devicetree/base/serial-number", serial)):
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return root


def test_it_is_the_systems_own_and_no_part_of_it_can_be_read(tmp_path):
    one = installation_id(system(tmp_path / "a", SYSTEM + "\n"), {})
    assert re.fullmatch("[0-9a-f]{12}", one)
    assert one not in SYSTEM and SYSTEM[:6] not in one
    assert installation_id(system(tmp_path / "b", name="var/lib/dbus/machine-id"), {}) == one
    assert installation_id(system(tmp_path / "c", SYSTEM[::-1]), {}) != one


def test_boards_with_copies_of_one_card_differ_in_their_serial_number(tmp_path):
    ids = {installation_id(system(tmp_path / serial, serial=f"{serial}\0"), {}) for serial in ("10a", "10b")}
    assert len(ids) == 2


@pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n"])
def test_a_system_without_one_gets_a_random_one_that_stays(tmp_path, machine_id):
    root = system(tmp_path / "root", machine_id)
    homes = [{"HOME": str(tmp_path / "one")}, {"XDG_STATE_HOME": str(tmp_path / "two"), "HOME": "/nowhere"}]
    ids = [installation_id(root, home) for home in homes]
    assert ids == [installation_id(root, home) for home in homes]
    assert len(set(ids)) == 2
    assert (tmp_path / "one/.local/state/samestep/installation-id").is_file()


def test_where_nothing_can_be_kept_there_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    for environment in ({}, {"HOME": str(tmp_path / "file")}, {"XDG_STATE_HOME": "relative"}):
        assert installation_id(tmp_path, environment) is None
