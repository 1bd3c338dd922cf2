"""When it is timed: cells, child processes, verification and clocks; the pytest door."""
