"""How fast the device multiplies and copies: what all other rates are measured against."""

import torch

from benchmarks.gpu.rows import Step
from pipeline.precision import PRECISIONS, check_float32, multiplying


def main() -> None:
    """Measure."""
    step = Step.of_arguments()
    check_float32(step.device)
    step.holds("float32 is multiplied and convolved in float32", True)
    size = step.size(8192, 512)
    for precision, dtype in PRECISIONS.items():
        if step.device == "cpu" and precision in ("fp16", "tf32"):
            continue  # no fast path, and not rounded there
        square = torch.randn(size, size, device=step.device).to(dtype)
        with multiplying(precision):
            took = step.seconds(lambda square=square: square @ square)
        step.measured(f"product of {size:,} in {precision}", f"{2 * size**3 / took / 1e12:,.2f} TFLOP/s")
    count = step.size(2**30, 2**24)
    here, there = (torch.empty(count // 4, device=step.device) for _ in range(2))
    step.measured("copy on the device", f"{2 * count / step.seconds(lambda: there.copy_(here)) / 1e9:,.1f} GB/s")
    if step.device == "cpu":
        step.skipped("copy to the device", "there is no other device")
        return
    for name, pinned in (("pageable", False), ("pinned", True)):
        host = torch.empty(count // 16, pin_memory=pinned)
        took = step.seconds(lambda host=host: there[: len(host)].copy_(host, non_blocking=True))
        step.measured(f"copy to the device, {name}", f"{host.nbytes / took / 1e9:,.1f} GB/s")


if __name__ == "__main__":
    main()
