"""Made-up rows of a language model as it is served: training, inference, prompts read and tokens generated."""

from tests.fakes.rows import row_of

SEQUENCE, DEPTH = {"sequence": 128}, {"depth": 128}
OF_PHASE = {
    "train": (SEQUENCE, 100.0),
    "infer": (SEQUENCE, 400.0),
    "prefill": (SEQUENCE, 500.0),
    "decode": (DEPTH, 20.0),
}
"""The shape of each phase beside its batch, and its tokens per second."""


def served_row(phase, *, times=1.0, batch=2, **changes):
    """Returns the row of a phase of gpt2 at a batch: tokens per second of `OF_PHASE` by `times`, its latency alike."""
    shape, per_s = OF_PHASE[phase]
    columns = {**shape, **changes}
    tokens = columns.pop("throughput_tokens_per_s", per_s) * times
    samples = tokens / columns.get("sequence", 1)
    return row_of(
        **{
            "workload": "gpt2",
            "size": "124m",
            "phase": phase,
            "batch": batch,
            "samples_per_step": batch,
            "tokens_per_step": batch * columns.get("sequence", 1),
            "device": "chip",
            "latency_p50_s": batch / samples,
            "throughput_samples_per_s": samples,
            "throughput_tokens_per_s": tokens,
            "workload_digest": "deep" if "depth" in columns else "whole",
            "model_digest": "model",
            "minimum_bytes_per_step": 500 << 20,
            **columns,
        }
    )


def served_run(*, times=1.0, phases=tuple(OF_PHASE), **changes):
    return [served_row(phase, times=times, **changes) for phase in phases]
