"""Local files of public models in place of random parameters: found, checked whole, and read."""
