"""What goes over the wire to an OpenAI-compatible endpoint and comes back: requests, responses, events, the key."""
