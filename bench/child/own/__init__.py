"""A user's own model, in the child that makes it: the factory is called once, and all else takes what it gave."""
