"""Rows, the journal and the files that they travel in. Standard library only."""
