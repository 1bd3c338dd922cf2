"""What a person reads of language models as they are served: prompt and generated tokens apart."""
