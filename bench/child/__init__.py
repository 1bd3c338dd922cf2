"""The child: prepares, verifies and measures one cell. It knows nothing of pytest."""
