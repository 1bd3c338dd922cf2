"""What identifies a cell of a run: what one dimension is."""
