"""A user's own model: what a factory returns, and the workload that is made of what a child has exported of it."""
