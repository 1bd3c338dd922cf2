"""The report: one HTML page without network or JavaScript."""
