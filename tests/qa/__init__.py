"""Questions to the method itself, each answered with figures and an exit status: `python -m tests.qa NAME …`."""
