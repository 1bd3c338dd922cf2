"""Distributions and tests of textbooks: scipy's, imported where a command takes them."""

from typing import Any


def stats() -> Any:
    """Returns `scipy.stats`. Raises ModuleNotFoundError, with what to install, where it is missing."""
    try:
        from scipy import stats as of_scipy
    except ModuleNotFoundError as error:
        cure = "intervals and tests take scipy: pip install -e '.[reports]'"
        raise ModuleNotFoundError(f"{error}: {cure}", name="scipy") from error
    return of_scipy
