"""AWS Inferentia2 and Trainium: inference traced by torch-neuronx. Requires torch_neuronx 2.x from AWS's own index.

Not yet run on hardware: written against the documented API and tested with a fake at its boundary. AWS ships three
generations of software; this adapter has the middle one:

| chip | software | here |
| --- | --- | --- |
| Inf1 | torch_neuron, archived by AWS | detected, no path |
| Inf2, Trn1 and newer | torch_neuronx up to 2.9, `torch_neuronx.trace` | inference |
| Trn2, Trn3 | torch_neuronx from 2.13, a native `neuron` device | detected, no path yet |
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from backends._probes import versions
from backends.base import Adapter, Probe, Request, Setting, Step
from host.files import read_text

DEV = Path("/dev")
SYSFS = Path("/sys/devices/virtual/neuron_device")
"""Of the kernel driver, aws-neuronx-dkms: `neuron0/info/architecture/{device_name,instance_type}`."""
INDEX = "https://pip.repos.neuron.amazonaws.com"
INSTALL = f"pip install 'torch-neuronx==2.9.*' neuronx-cc --extra-index-url {INDEX}"
FIRST_NATIVE = (2, 10)
"""torch_neuronx from here on (the first release is 2.13) is the native device, without `trace`."""


class Inferentia(Adapter):
    """Inference traced for a NeuronCore; calls wait, so that steps cannot overlap."""

    device_kind = "neuron"
    extra = "neuron"
    kinds = ("inferentia",)
    cpu_torch = False  # AWS's images bring torch-neuronx with the torch that it needs
    phases = ("infer",)
    overlap = "none"
    distributions = ("torch-neuronx", "neuronx-cc", "torch")

    def probe(self) -> Probe:
        devices = sorted(path.name for path in DEV.glob("neuron[0-9]*"))
        if not devices:
            reason = "no /dev/neuron*: it takes an AWS Inf2 or Trn instance with the driver aws-neuronx-dkms"
            return Probe("absent", reason=reason, reason_code="no_device")
        chip, instance = _architecture(devices[0], "device_name"), _architecture(devices[0], "instance_type")
        device = f"{chip or 'unknown Neuron chip'} ×{len(devices)}"
        if not chip:
            reason = f"{SYSFS / devices[0]} does not name its architecture: update the driver aws-neuronx-dkms"
            return Probe("broken", device, reason=reason, reason_code="start_failed")
        if chip.lower() in ("inferentia", "inferentia1") or instance.lower().startswith("inf1"):
            return self._probe_inf1(device)
        return self._probe_neuronx(device)

    def _probe_inf1(self, device: str) -> Probe:
        if find_spec("torch_neuron") is None:
            reason = "torch_neuron, which Inf1 takes, is not installed; AWS has archived it, and it has no path here"
            return Probe("absent", device, reason=reason, reason_code="not_installed")
        reason = "Inf1 and torch_neuron, archived by AWS, have no path here: it takes Inf2 or Trn1 with torch_neuronx"
        return Probe("absent", device, reason=reason, reason_code="wrong_platform")

    def _probe_neuronx(self, device: str) -> Probe:
        if find_spec("torch_neuronx") is None:
            reason = f"torch_neuronx is not installed: {INSTALL}"
            return Probe("absent", device, reason=reason, reason_code="not_installed")
        installed = versions(self.distributions)
        version = " ".join(f"{name} {number}" for name, number in installed.items())
        neuronx = installed.get("torch-neuronx", "")
        release = tuple(int(part) for part in re.findall(r"\d+", neuronx)[:2])
        if release and release < (2,):
            reason = f"torch-neuronx {neuronx} is not AWS's: {INSTALL}"
            return Probe("broken", device, version, reason, "import_failed")
        if release >= FIRST_NATIVE:
            reason = (
                f"torch-neuronx {neuronx} is the native `neuron` device, which has no path here yet; "
                f"tracing takes an older one: {INSTALL}"
            )
            return Probe("absent", device, version, reason, "not_installed")
        return Probe("usable", device, version)

    def why_unsupported(self, phase: str, precision: str) -> tuple[str, str] | None:
        if phase not in self.phases and phase in (Adapter.phases or ()):
            reason = "torch_neuronx.trace is for inference only; training on Trn takes other software, not written here"
            return "phase_not_supported", reason
        return super().why_unsupported(phase, precision)

    def load(self, setting: Setting) -> None:
        import torch
        import torch_neuronx  # noqa: F401 - an import that fails shall fail here

        torch.set_num_threads(setting.threads)

    def prepare(self, request: Request) -> Step:
        from backends._neuron import NeuronStep

        return NeuronStep(request)

    def is_out_of_memory(self, error: BaseException) -> bool:
        # NRT_RESOURCE, status 4 of the Neuron runtime (nrt_status.h), reads so in the RuntimeError:
        # https://github.com/aws-neuron/aws-neuron-samples/issues/96
        text = str(error)
        return isinstance(error, MemoryError) or "NRT_RESOURCE" in text or "Allocation Failure" in text


def _architecture(device: str, fact: str) -> str:
    """Returns what the driver says of the chip, empty where it says nothing."""
    path = SYSFS / device / "info" / "architecture" / fact
    return (read_text(path) or "").strip()
