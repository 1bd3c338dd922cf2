"""A service whose weights are known, held against the reference by the log-probabilities that it tells."""
