"""The commands that read runs, each in the module of its name."""
