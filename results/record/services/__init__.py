"""Rows of services: what answers requests over a network, and what other tools measured of such."""
