"""Rows as pandas tables: beside each other, compared, in dollars, for other tools."""
