"""The exact aggregation beside torch's attention, the best chunked softmax, and the product rate of the device."""

import argparse

from benchmarks.aggregate import GEMM, measure
from benchmarks.gpu.rows import Step


def main() -> None:
    """Measure the standard shapes."""
    step = Step.of_arguments()
    shapes = [(65_536, 262_144), (131_072, 2_000_000)] if not step.small else [(512, 8192)]
    for queries, memory in shapes:
        for dtype in ("float16", "bfloat16") if step.device == "cuda" and memory < 10**6 else ("float16",) if step.device == "cuda" else ("float32",):  # fmt: skip
            options = argparse.Namespace(device=step.device, dtype=dtype, dimension=512, repeats=1 if memory > 10**6 else 3,
                                         threads=2)  # fmt: skip
            for row in measure(queries, memory, options):
                if row["name"] == GEMM:
                    continue
                error = row["error"]
                step.measured(
                    f"{queries:,} x {memory:,} in {dtype}: {row['name']}",
                    f"{row['median_seconds']:.2f} s, {row['of_gemm']:.2f} of product"
                    + ("" if error is None else f", error {error:.0e}"),
                )


if __name__ == "__main__":
    main()
