"""tox's environments for kinds of machine, `bench-cpu`, `bench-cuda` …: from what the adapters in backends/ declare."""

import sys
from pathlib import Path

from tox.config.loader.memory import MemoryLoader
from tox.config.sets import ConfigSet
from tox.config.types import Command
from tox.plugin import impl
from tox.session.state import State

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from backends._kinds import kinds  # noqa: E402 - tox is installed elsewhere, and this checkout is not on its path


@impl
def tox_extend_envs() -> tuple[str, ...]:
    """Returns the names of the environments; tox.ini may say more of each."""
    return tuple(kind.environment for kind in kinds())


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Gives each its extras and its command; without options it runs `--preset quick`."""
    options = state.conf.pos_args(ROOT) or ("--preset", "quick")
    for kind in kinds():
        backends = ",".join(kind.backends)
        told: dict[str, object] = {
            "description": f"machines of the kind {kind.name}: {', '.join(kind.backends)}, and nothing else",
            "extras": set(kind.extras),
            "commands": [Command(["pytest", "bench", "--backends", backends, *options])],
        }
        if not kind.cpu_torch:
            told["constraints"] = ""
        state.conf.memory_seed_loaders[kind.environment].append(MemoryLoader(**told))
