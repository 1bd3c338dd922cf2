"""Language models as they are served: what prompt tokens and generated ones take and cost."""
