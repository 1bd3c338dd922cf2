"""A service measured at a load: the one way, behind `samestep service` and behind a run."""
