"""The exact aggregation beside torch's attention, the best chunked softmax, and the product rate of the device; and its tiles."""

import argparse
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.aggregate import CHECKED, GEMM, GEMM_SIZE, SDPA, TEMPERATURE, measure
from benchmarks.gpu.rows import Step
from pipeline.precision import multiplying
from pipeline.retrieve.memory.fused import FUSED_BLOCKS, Fused, FusedSums, Tile, _accumulate
from pipeline.retrieve.memory.products import Blocks
from pipeline.retrieve.memory.tiles import TILES, tile_of

WIDTH = 512
# Other tiles and blocks, to see whether the ones in use are the fastest.
ONCE = replace(TILES[0], lasting=False)
TRIED = (
    TILES[0], replace(TILES[0], described=True), replace(TILES[0], stages=4), replace(TILES[0], group=16),
    ONCE, replace(ONCE, described=True), replace(ONCE, group=16),
    Tile(128, 256, 128, 8, 2, described=True, lasting=True), Tile(256, 128, 64, 8, 3, described=True),
    TILES[1], replace(TILES[1], lasting=True),
)  # fmt: skip
BLOCKS = ((2048, 16384), (8192, 8192), (8192, 16384), (16384, 32768), (32768, 16384))


def peers(step: Step) -> None:
    """Ours and what a user would write instead, at two sizes."""
    shapes = [(65_536, 262_144, "float16"), (65_536, 262_144, "bfloat16"), (131_072, 2_000_000, "float16")]
    if step.device == "cpu":
        shapes = [(512, 8192, "float32")]
    for queries, memory, dtype in shapes:
        large = memory > 10**6
        # The attention of torch is an order of magnitude slower there.
        options = argparse.Namespace(device=step.device, dtype=dtype, dimension=WIDTH, repeats=1 if large else 3, threads=2,
                                     without=(SDPA,) if large else ())  # fmt: skip
        for row in measure(queries, memory, options):
            if row["name"] == GEMM:
                continue
            error = row["error"]
            step.measured(
                f"{queries:,} x {memory:,} in {dtype}: {row['name']}",
                f"{row['median_seconds']:.2f} s, {row['of_gemm']:.2f} of product"
                + ("" if error is None else f", error {error:.0e}"),
            )


@multiplying()
def with_tile(queries: Tensor, keys: Tensor, tile: Tile, blocks: Blocks) -> Tensor:
    """The averages of the keys, as `aggregate` makes them, with another tile."""
    buffers = Fused(tile, blocks, queries, spread=False)
    vectors, statistics = (
        queries.new_zeros(queries.shape, dtype=torch.float32),
        queries.new_empty(3, len(queries)).float(),
    )
    for start in range(0, len(queries), blocks.queries):
        rows = slice(start, start + blocks.queries)
        sums = FusedSums(buffers, queries[rows], TEMPERATURE, [vectors[rows]], list(statistics[:, rows]), 0)
        for first in range(0, len(keys), blocks.memory):
            sums.add(keys[first : first + blocks.memory], [keys[first : first + blocks.memory]])
        sums.close()
    return vectors


def tiles(step: Step) -> None:
    """Share of the product rate by tile and by block, and what the two products alone reach."""
    draw = torch.Generator(step.device).manual_seed(0)
    rows = torch.randn(262_144, WIDTH, generator=draw, device=step.device)
    keys = normalize(rows, dim=1).half()
    queries = keys[:65_536].flip(1).contiguous()
    if not tile_of(queries, torch.float16):
        step.skipped("aggregation: tiles", "the fused kernels cannot be used here")
        return
    size = GEMM_SIZE["cuda"]
    square = torch.randn(size, size, device=step.device, dtype=torch.float16)
    rate = 2 * size**3 / step.seconds(lambda: torch.mm(square, square))

    few = queries[:CHECKED].double()
    reference = torch.softmax(few @ keys.double().T / TEMPERATURE, 1) @ keys.double()

    def report(name: str, tile: Tile, blocks: Blocks) -> None:
        try:
            error = float((with_tile(queries, keys, tile, blocks)[: len(few)] - reference).abs().max())
            seconds = step.seconds(lambda: with_tile(queries, keys, tile, blocks), 2)
        except Exception as problem:  # a tile that this card cannot hold
            step.skipped(f"aggregation, {name}", f"{type(problem).__name__}: {problem}"[:60])
            return
        share = 4 * len(queries) * len(keys) * WIDTH / seconds / rate
        step.measured(f"aggregation, {name}", f"{seconds:.3f} s, {share:.2f} of product, error {error:.0e}")

    for block in BLOCKS:
        report(f"block {block[0]:,} x {block[1]:,}", TILES[0], Blocks(*block))
    for tile in TRIED:
        kind = f"{' desc' if tile.described else ''}{' lasting' if tile.lasting else ''}"
        name = f"tile {tile.rows}x{tile.columns}x{tile.depth} w{tile.warps} s{tile.stages} g{tile.group}{kind}"
        report(name, tile, FUSED_BLOCKS)
        step.measured(f"first product, {name}", first_product(step, queries, keys, tile, rate))
    weights = torch.rand(FUSED_BLOCKS.queries, FUSED_BLOCKS.memory, device=step.device).half()
    sums = torch.zeros(FUSED_BLOCKS.queries, WIDTH, device=step.device)
    spent = step.seconds(lambda: _accumulate(sums, weights, keys[: FUSED_BLOCKS.memory]))
    step.measured("second product", f"{2 * weights.numel() * WIDTH / spent / rate:.2f} of product")


def first_product(step: Step, queries: Tensor, keys: Tensor, tile: Tile, rate: float) -> str:
    """The rate of the product that writes weights, alone, and how long the statistics take: without any values."""
    few, memory = queries[: FUSED_BLOCKS.queries], keys[: FUSED_BLOCKS.memory]
    try:
        sums = FusedSums(Fused(tile, FUSED_BLOCKS, few, False), few, TEMPERATURE, [], [], 0)
        spent = step.seconds(lambda: sums.add(memory, []))
    except Exception as error:  # as above
        return f"{type(error).__name__}"
    return f"{2 * len(few) * len(memory) * WIDTH / spent / rate:.2f} of product"


def main() -> None:
    """Measure the standard shapes, then what else could have been chosen."""
    step = Step.of_arguments()
    peers(step)
    if step.device == "cuda":
        tiles(step)


if __name__ == "__main__":
    main()
