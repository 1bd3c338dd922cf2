"""A user's own models: how they are asked for, what they depend on, and how a child makes them."""
