"""Services as tables: what two sides of them have in common, and their ratios."""
