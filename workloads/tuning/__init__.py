"""Training in its phases: the steps that come after pre-training, each a program made from those of a language model.

`lora` fine-tunes adapters of low rank beside frozen weights, `dpo` and `grpo` tune a policy by preferences and by
rewards, `distill` trains a student on what its teacher says.
"""

TRAIN = "train"
"""The phase that they come after."""
LORA, DPO, GRPO, DISTILL = "lora", "dpo", "grpo", "distill"
TUNED = (LORA, DPO, GRPO, DISTILL)
"""The phases: whoever trains runs them."""
