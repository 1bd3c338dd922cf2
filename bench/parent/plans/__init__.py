"""What is asked for: options, presets, the two sides of an A/B, and the cells that follow."""
