"""Made-up rows of a language model as it is served: training, inference, prompts read and tokens generated."""

from tests.fakes.rows import row_of

OF_PHASE = {
    "train": {"sequence": 128, "tokens_per_step": 256, "throughput_tokens_per_s": 100.0},
    "infer": {"sequence": 128, "tokens_per_step": 256, "throughput_tokens_per_s": 400.0},
    "prefill": {"sequence": 128, "tokens_per_step": 256, "throughput_tokens_per_s": 500.0},
    "decode": {"depth": 128, "tokens_per_step": 2, "throughput_tokens_per_s": 20.0},
}


def served_row(phase, *, times=1.0, batch=2, **changes):
    """Returns the row of a phase of gpt2 at a batch: tokens per second of `OF_PHASE` by `times`, its latency alike."""
    columns = {**OF_PHASE[phase], **changes}
    tokens = columns.pop("throughput_tokens_per_s") * times
    samples = tokens * batch / columns["tokens_per_step"]
    return row_of(
        **{
            "workload": "gpt2",
            "size": "124m",
            "phase": phase,
            "batch": batch,
            "samples_per_step": batch,
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
