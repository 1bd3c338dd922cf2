"""What a step is held against: the reference, what was asked for, and whether it waits."""
