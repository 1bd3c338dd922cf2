"""Requests as a user sends them: arrivals, one driver with one clock, and what came back, defined once."""
