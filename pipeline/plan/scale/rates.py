"""How fast a machine is: measured here and now, or taken from the results of an earlier measurement."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

HERE = "measured here"


@dataclass(frozen=True)
class Rate:
    """A figure and where it comes from."""

    value: float
    origin: str = HERE


@dataclass(frozen=True)
class Rates:
    """What estimates are made from.

    Attributes:
        products: Floating-point operations per second of large products on one device.
        decode: Samples that one core decodes and prepares in a second.
        write: Bytes per second that one process hashes and writes.
        plan: Samples that `mcr shard` adds, sorts and cuts in a second.
        forward: Samples that one device embeds in a second; None where only its products are known.
        step: Seconds of a training step of 4,096 pairs; None where only the products are known.
        aggregation: Share of the products' speed that retrieval reaches.
        forward_share: Share of the products' speed that a tower reaches, where its rate is not known.
    """

    products: Rate
    decode: Rate
    write: Rate
    plan: Rate
    forward: Rate | None = None
    step: Rate | None = None
    aggregation: Rate = Rate(0.5, "assumed")
    forward_share: Rate = Rate(0.5, "assumed")

    def updated_from(self, file: Path) -> "Rates":
        """These rates with those that a results file of ``benchmarks/`` has.

        Raises:
            UserError: It cannot be read, or has none.
        """
        try:
            content = json.loads(file.read_bytes())
            found = dict(_found(content))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file} is not a results file ({type(error).__name__}).", "Name a .json of benchmarks/results."
            ) from error
        if not found:
            raise UserError(f"{file} has no rates that can be used here.", "Name a .json of benchmarks/results.")
        return replace(self, **{name: Rate(value, file.name) for name, value in found.items()})


# Of the checks on a GPU: which figure is which rate, and its factor; the fastest of several counts.
_FIGURES = (
    ("products", re.compile(r"product of 8,192 in (?:fp16|bf16)"), re.compile(r"([\d.,]+) TFLOP/s"), 1e12),
    ("step", re.compile(r"training step of 4,096 in (?:bf16|fp32)"), re.compile(r"([\d.,]+) ms"), 1e-3),
)
# What these rows call a share is one of a single product, which is slower than the products one after the other above.
_AGGREGATION = re.compile(r"([\d,]+) x (2,000,000) in float16: ours")
_SECONDS, _WIDTH = re.compile(r"([\d.]+) s,"), 512
_ENCODING = re.compile(r"ViT-B-32 image in \w+")
_OF_BARE = re.compile(r"([\d.,]+)/s, ([\d.]+) of bare, input ([\d.,]+)/s")


def _found(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Rates in a results file, slower before faster."""
    rows = content.get("rows", ())
    found: dict[str, list[float]] = {}
    aggregation: list[float] = []  # operations per second
    for row in rows:
        if "check" in row:
            for name, check, figure, factor in _FIGURES:
                if check.fullmatch(row["check"]) and (value := figure.search(row["figure"])):
                    found.setdefault(name, []).append(_number(value[1]) * factor)
            if (shape := _AGGREGATION.fullmatch(row["check"])) and (value := _SECONDS.match(row["figure"])):
                operations = 4 * _number(shape[1]) * _number(shape[2]) * _WIDTH
                aggregation.append(operations / _number(value[1]))
            if _ENCODING.match(row["check"]) and (value := _OF_BARE.search(row["figure"])):
                found.setdefault("forward", []).append(_number(value[1]) / float(value[2]))
                found.setdefault("decode", []).append(_number(value[3]) / content["machine"]["cores"])
        elif row.get("space") == "open_clip" and row.get("modality") == "image":
            found.setdefault("forward", []).append(row["rates"]["bare"])
            workers = content["settings"].get("workers") or 1
            found.setdefault("decode", []).append(row["rates"]["input"] / workers)
        elif row.get("batch") == 4096 and "ours_ms" in row:
            found.setdefault("step", []).append(row["ours_ms"] / 1e3)
            found.setdefault("products", []).append(row["gemm_gflops"] * 1e9)
    for shape in content.get("shapes", ()):
        for row in shape["rows"]:
            if row["name"] == "ours":
                aggregation.append(row["gflops_median"] * 1e9)
            elif row["name"] == "matrix product alone":
                found.setdefault("products", []).append(row["gflops_median"] * 1e9)
    for size in content.get("sizes", ()):
        if "samples" in size:
            found.setdefault("plan", []).append(size["samples"] / size["planning"]["seconds"])
    if aggregation and "products" in found:
        found["aggregation"] = [max(aggregation) / max(found["products"])]
    for name, values in found.items():
        # Of planning that of the largest corpus counts, which is the last one.
        yield name, values[-1] if name == "plan" else min(values) if name == "step" else max(values)


def _number(written: str) -> float:
    return float(written.replace(",", ""))
