"""The names that outside code may import."""

__version__ = "0.1.0"
