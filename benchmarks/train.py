"""How fast a training step is: against the matrix products in it, and against the textbook step.

    python benchmarks/train.py                       the papers' width at batch 4,096, on every device there is
    python benchmarks/train.py --quick               the demo's size, a few seconds
    python benchmarks/train.py --json result.json    also as JSON

Peer, ours and the matrix product run alternately in one process, so that a busy machine disturbs all three; the ratio to
the peer is of medians, the share of the GEMM rate and the projection are of the fastest repeats.
The peer is the step as one writes it first: a DataLoader-like gather, one forward pass per modality, cross-entropy in
both directions by autograd. A CPU with instructions for bfloat16 is also measured in bf16. The rate of the matrix products is measured in the same run, on the largest of them.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize

sys.path.insert(0, str(Path(__file__).parents[1]))  # also runs on a machine where the package is not installed

from pipeline.allocator import keep_freed_memory
from pipeline.connect import ProjectorSpec, build_projector
from pipeline.links import Link, Memory
from pipeline.precision import dtype_of, may_round, multiplying
from pipeline.train.loop import Trainer
from pipeline.train.methods.cmcr import CMCR
from pipeline.train.settings import ProjectorSettings, TrainSettings
from pipeline.train.steps.draws import Draws

# Batch, width of the spaces, hidden width.
QUICK = (512, 128, 256)
SIZES = [QUICK, (4096, 512, 1024)]
PAPER = {"epochs": 36, "pairs": 2_330_000, "batch": 10_240}
SPACES = {"clip": "image", "clap": "audio"}


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the demo's size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--paper-batch", action="store_true", help="also measure the papers' batch of 10,240")
    parser.add_argument("--compiled", action="store_true", help="also measure the step with `train.compile`")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as a training does; the peer gains as much
    sizes = [QUICK] if options.quick else SIZES + ([(PAPER["batch"], 512, 1024)] if options.paper_batch else [])
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    rows = [
        measure(device, *size, options.repeats, precision, compiled=options.compiled)
        for device in devices
        for precision in (("fp32", "bf16") if may_round(torch.device(device), torch.bfloat16) else ("fp32",))
        for size in sizes
    ]
    print(f"{'device':6} {'':5} {'batch':>6} {'width':>5} {'hidden':>6} {'ours ms':>9} {'peer ms':>9} {'ratio':>6} "
          f"{'GFLOP':>7} {'GEMM GFLOP/s':>12} {'of GEMM':>7} {'paper schedule':>15}")  # fmt: skip
    for row in rows:
        print(f"{row['device']:6} {row['precision']:5} {row['batch']:6} {row['width']:5} {row['hidden']:6} {row['ours_ms']:9.2f} "
              f"{row['peer_ms']:9.2f} {row['ratio']:6.2f} {row['gflop']:7.1f} {row['gemm_gflops']:12.0f} "
              f"{row['fraction']:7.2f} {row['paper_seconds'] / 3600:13.2f} h"
              + (f"   compiled {row['compiled_ms']:.2f} ms" if options.compiled else ""))  # fmt: skip
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    result = json.dumps({"machine": machine, "torch": torch.__version__, "rows": rows}, indent=1)
    print(result)
    if options.json:
        options.json.write_text(result + "\n")


# All three in the precision of the training: a peer that rounds to TF32 would be compared with something else.
@multiplying()
def measure(
    device: str,
    batch: int,
    width: int,
    hidden: int,
    repeats: int,
    precision: str = "fp32",
    record: bool | None = None,
    calls: int = 0,
    compiled: bool = False,
) -> dict[str, Any]:
    """Step times of ours, `compiled` too where asked, and of the peer at one size, and what they are worth."""
    tables = random_tables(batch * 4, width, device)
    ours = our_step(tables, batch, width, hidden, device, precision, record)
    fused = our_step(tables, batch, width, hidden, device, precision, record, compiled=True) if compiled else None
    peer = peer_step(tables, batch, width, hidden, device, precision)
    if not calls:
        calls = 50 if device == "cuda" else 20 if batch * width < 1e6 else 1
    times: dict[str, list[float]] = {"ours": [], "peer": [], "gemm": []} | ({"compiled": []} if fused else {})
    first, second = (torch.randn(batch, width, device=device).to(dtype_of(precision)) for _ in range(2))
    for _ in range(repeats + 1):
        times["ours"].append(seconds(ours, calls, device))
        if fused:
            times["compiled"].append(seconds(fused, calls, device))
        times["peer"].append(seconds(peer, calls, device))
        times["gemm"].append(seconds(lambda: first @ second.T, calls * 3, device))
    # The first round warms up.
    ours_s, peer_s = (statistics.median(times[name][1:]) for name in ("ours", "peer"))
    fastest = {name: min(each[1:]) for name, each in times.items()}
    flop = step_flop(batch, width, hidden)
    rate = 2 * batch * batch * width / fastest["gemm"]
    steps = PAPER["epochs"] * (PAPER["pairs"] // PAPER["batch"])
    # Work per step grows as the products in it; the projection assumes the same share of the GEMM rate.
    projected = steps * fastest["ours"] * step_flop(PAPER["batch"], 512, 1024) / flop
    return {
        "device": device, "precision": precision, "batch": batch, "width": width, "hidden": hidden, "repeats": repeats,
        "ours_ms": ours_s * 1e3, "peer_ms": peer_s * 1e3, "ratio": peer_s / ours_s, "gflop": flop / 1e9,
        "gemm_gflops": rate / 1e9, "fraction": flop / fastest["ours"] / rate, "paper_seconds": projected,
        "samples_ms": {name: [round(value * 1e3, 3) for value in each[1:]] for name, each in times.items()},
    } | ({"compiled_ms": statistics.median(times["compiled"][1:]) * 1e3} if fused else {})  # fmt: skip


def step_flop(batch: int, width: int, hidden: int) -> float:
    """Operations in the matrix products of one step: two projectors on two inputs each, two InfoNCE losses."""
    # The gradient of the frozen inputs is not needed, so the first layer costs 2 products and not 3.
    projectors = 2 * (2 * batch) * (2 * 2 + 2 * 3) * width * hidden
    return projectors + 2 * 6 * batch**2 * width


def seconds(step: Callable[[], Any], calls: int, device: str) -> float:
    """Mean time of one of `calls` calls, the device drained before and after."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        step()
    wait()
    return (time.perf_counter() - start) / calls


def random_tables(rows: int, width: int, device: str) -> dict[str, torch.Tensor]:
    """Unit rows in place of pseudo-pairs."""
    source = torch.Generator(device).manual_seed(0)
    columns = [f"{space}_{modality}" for space, other in SPACES.items() for modality in ("text", other)]
    return {name: normalize(torch.randn(rows, width, generator=source, device=device), dim=-1) for name in columns}


def settings_of(batch: int, width: int, hidden: int, compiled: bool = False) -> TrainSettings:
    """The papers' settings at this size."""
    head = ProjectorSettings(hidden=hidden, dimension=width)
    return TrainSettings(projector=head, epochs=1000, batch_size=batch, compile=compiled)


def heads_of(width: int, hidden: int, device: str) -> dict[str, torch.nn.Module]:
    """Two new projectors."""
    spec = ProjectorSpec(kind="mlp", input=width, hidden=hidden, dimension=width)
    return {space: build_projector(spec).to(device) for space in SPACES}


def benchmark_link() -> Link:
    """What is joined."""
    memories = {space: Memory(modality=modality) for space, modality in SPACES.items()}
    return Link(connection="benchmark", name="clip-clap", spaces=("clip", "clap"), overlap="text", memories=memories)


def objective_of(width: int, settings: TrainSettings) -> CMCR:
    """The objective that is measured: two spaces of one width."""
    return CMCR(benchmark_link(), dict.fromkeys(SPACES, width), settings)


def our_step(
    tables: dict[str, torch.Tensor],
    batch: int,
    width: int,
    hidden: int,
    device: str,
    precision: str = "fp32",
    record: bool | None = None,
    compiled: bool = False,
) -> Callable[[], None]:
    """One step of the training loop, gather and noise included; `record` as `Trainer` has it.

    Raises:
        RuntimeError: It cannot be compiled.
    """
    settings = settings_of(batch, width, hidden, compiled)
    heads, draws = heads_of(width, hidden, device), Draws(0, "benchmark")
    trainer = Trainer(objective_of(width, settings), tables, heads, settings, draws, precision, record)
    if compiled and not trainer.compiled:
        raise RuntimeError("the step cannot be compiled here: the log says why")
    order = torch.randperm(batch * 4).to(device)[:batch]
    return lambda: trainer.step(0, trainer.batches.pick(order))


def peer_step(
    tables: dict[str, torch.Tensor], batch: int, width: int, hidden: int, device: str, precision: str = "fp32"
) -> Callable[[], None]:
    """The same step written straight from the equations, on rows that are picked by index."""
    order = torch.randperm(batch * 4).to(device)[:batch]
    step = peer_step_on(batch, width, hidden, device, precision)
    return lambda: step({name: table[order] for name, table in tables.items()})


def peer_step_on(
    batch: int, width: int, hidden: int, device: str, precision: str = "fp32"
) -> Callable[[dict[str, torch.Tensor]], None]:
    """The textbook step as a function of its batch; in bf16 under autocast, as one does it."""
    settings = settings_of(batch, width, hidden)
    heads = heads_of(width, hidden, device)
    optimizer = torch.optim.AdamW([parameter for head in heads.values() for parameter in head.parameters()], lr=1e-3)
    labels = torch.arange(batch, device=device)
    deviation = math.sqrt(settings.noise_variance)

    def info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
        scores = first @ second.T / temperature
        return (cross_entropy(scores, labels) + cross_entropy(scores.T, labels)) / 2

    def step(rows: dict[str, torch.Tensor]) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def loss_of(batch_rows: dict[str, torch.Tensor]) -> torch.Tensor:
        out = {}
        for name, rows in batch_rows.items():
            noisy = normalize(rows + deviation * torch.randn_like(rows), dim=-1)
            out[name] = heads[name.split("_")[0]](noisy)
        text_i, image, text_a, audio = out["clip_text"], out["clip_image"], out["clap_text"], out["clap_audio"]
        loss = info_nce(text_i, text_a, settings.temperature_overlap)
        loss = loss + info_nce(image, audio, settings.temperature_pseudo)
        intra = (text_i - image).norm(dim=-1).mean() + (text_a - audio).norm(dim=-1).mean()
        return loss + settings.intra_weight * 0.5 * intra

    return step


if __name__ == "__main__":
    main()
