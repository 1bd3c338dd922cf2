"""How it runs: one adapter per file. File name = backend = test id = column value."""
