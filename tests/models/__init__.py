"""Modules of users' own, small and made by hand, as `--model tests.models.…` takes them."""
