"""Adapters that misbehave on purpose, and what the tests need to run them and to look after them."""
