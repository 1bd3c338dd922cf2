"""A pytest plugin, for `-p tests.fakes.warner`: warns as it is configured, as many do with each release of pytest."""

import warnings


def pytest_configure(config):
    warnings.warn("planted by a plugin", DeprecationWarning, stacklevel=1)
