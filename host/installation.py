"""Which installation this is: two boards of one kind have the same hardware, and are two machines."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from host.files import read_text

SYSTEM_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
"""The id that an installation of Linux is given (machine-id(5))."""
SERIAL_NUMBER = "sys/firmware/devicetree/base/serial-number"
"""Of a board, where its firmware tells it: boards whose card was copied from one image share a machine-id."""


def installation_id(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns twelve hex digits that tell this installation from others on the same hardware; None where nothing does.

    They are a digest of the system's own id, which is a secret (machine-id(5)), and of the board's serial number. Where
    the system has no id, as in a container, it is a random one that is kept in the user's folder of state
    (`$XDG_STATE_HOME/samestep/installation-id`), which this writes the first time.
    """
    system = next((text for name in SYSTEM_IDS if re.fullmatch("[0-9a-f]{32}", text := _text(root / name))), "")
    serial = _text(root / SERIAL_NUMBER).strip("\0")
    own = f"{system} {serial}" if system or serial else _kept(environment)
    return hashlib.sha256(f"samestep installation {own}".encode()).hexdigest()[:12] if own else None


def _text(path: Path) -> str:
    return (read_text(path) or "").strip()


def _kept(environment: Mapping[str, str]) -> str:
    """Returns the random id that the user's folder of state holds, from now on at least; nothing where it cannot."""
    home = environment.get("HOME")
    state = environment.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else "")
    if not Path(state).is_absolute():
        return ""
    path = Path(state) / "samestep" / "installation-id"
    if not _text(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Of two that begin at once the second finds the first one's file, and reads it.
            with path.open("x", encoding="ascii") as file:
                file.write(os.urandom(16).hex() + "\n")
        except OSError:
            return _text(path)
    return _text(path)
