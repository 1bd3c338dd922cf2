"""What a child tells of a step beside its times in rounds: once, when those are taken."""
