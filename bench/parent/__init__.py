"""The parent: plans, launches, judges and records. It imports no framework."""
