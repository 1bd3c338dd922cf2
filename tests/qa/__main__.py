"""`python -m tests.qa NAME …`: asks the questions and exits with the worst answer: 0 good, 1 missed, 2 not shown."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

QUESTIONS = ("truth", "coverage", "serving", "overhead", "burner", "kill", "detect", "page", "scale")
QUIET = ("twice", "twins", "pinned", "others", "ab", "peaks", "errors", "serving_now")
"""Asked by name only, on a quiet machine. `twice` runs the suite five times, or reads the runs named behind it."""


def main() -> int:
    names = [word for word in sys.argv[1:] if not Path(word).exists()] or QUESTIONS
    for name in names:
        if name not in (*QUESTIONS, *QUIET):
            print(f"unknown question {name!r}; known: {', '.join((*QUESTIONS, *QUIET))}", file=sys.stderr)
            return 64
    worst = 0
    for name in names:
        module = import_module(f"tests.qa.{name}")
        print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        worst = max(worst, module.main())
    return worst


if __name__ == "__main__":
    sys.exit(main())
