"""Steps that were measured at several batches: what they have in common, and the best of each backend."""
