"""Rows of many machines over many nights: the store, change points, what is missing."""
