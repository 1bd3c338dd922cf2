"""A pytest plugin, for `-p tests.fakes.repeater`: has each test twice, as pytest-repeat does."""


def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("_step_number")
    metafunc.parametrize("_step_number", range(2), indirect=False)
