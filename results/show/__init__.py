"""What a person reads: tables in a terminal, the report, plots."""
