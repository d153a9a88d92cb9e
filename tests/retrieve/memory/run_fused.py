"""Run in a process of its own by `test_fused.py`: the kernels, by Triton's interpreter on a CPU or compiled for a GPU that is not there.

TRITON_INTERPRET=1 python -m tests.retrieve.memory.run_fused interpret
python -m tests.retrieve.memory.run_fused compile
"""

import json
import sys
from dataclasses import replace

import numpy as np
import torch

from pipeline.retrieve.memory import fused_kernels
from pipeline.retrieve.memory.fused import Fused, FusedSums, Tile
from pipeline.retrieve.memory.products import Blocks
from pipeline.retrieve.memory.tiles import TILES
from tests.retrieve.memory.test_aggregate import CASES, reference

# Small and odd on purpose, as the blocks of `test_aggregate` are.
TILE, BLOCKS = Tile(rows=16, columns=16, depth=16, warps=4, stages=2, group=2), Blocks(queries=24, memory=37)
LASTING = replace(TILE, described=True, lasting=True)
COUNTS = ("rows", "columns", "tiles", "width", "query_stride", "key_stride", "weight_stride", "stride")


def growing_case(rng):
    """Every row of the memory is nearer than all before it, within a block and from block to block."""
    query = np.eye(1, 20)
    cosines = np.linspace(-1, 1, 120)[:, None]
    return np.repeat(query, 3, axis=0), cosines * query + np.sqrt(1 - cosines**2) * np.eye(20)[7:8], 0.01


def interpret() -> dict[str, list[float]]:
    """By case: how far averages, log Z, largest scores and entropies are from float64, as shares of the largest."""
    found = {}
    for case in (*CASES, growing_case):
        for shared, tile in ((None, TILE), (1, LASTING)):
            queries, keys, temperature = case(np.random.default_rng(7))
            held = [torch.from_numpy(rows).half() for rows in (queries, keys)]
            other = torch.from_numpy(np.random.default_rng(8).normal(size=(len(keys), 40))).half()
            values = [other, held[1]][: 1 if shared is None else 2]
            vectors, statistics = aggregate(*held, values, temperature, shared, tile)
            asked, memory, *averaged = (rows.double().numpy() for rows in (*held, *values))
            expected = reference(asked, memory, averaged, temperature)
            pairs = [*zip(vectors, expected[0], strict=True), *zip(statistics, statistics_of(expected), strict=True)]
            found[f"{case.__name__} {shared}"] = [
                float(np.abs(ours - theirs).max() / max(1, np.abs(theirs).max())) for ours, theirs in pairs
            ]
    return found


def statistics_of(expected):
    """Log Z, the largest scores and the entropies."""
    return expected[1], expected[2], np.log(expected[3])


def aggregate(queries, keys, values, temperature, shared, tile):
    """As `aggregate` calls the sums on a GPU."""
    vectors = [torch.zeros(len(queries), value.shape[1]) for value in values]
    statistics = torch.zeros(3, len(queries))
    buffers = Fused(tile, BLOCKS, queries, spread=shared is None)
    for start in range(0, len(queries), BLOCKS.queries):
        rows = slice(start, start + BLOCKS.queries)
        sums = FusedSums(
            buffers, queries[rows], temperature, [each[rows] for each in vectors], list(statistics[:, rows]), shared
        )
        for first in range(0, len(keys), BLOCKS.memory):
            part = slice(first, first + BLOCKS.memory)
            if tile.lasting:  # as if every block lay on another card
                sums.move(Fused(tile, BLOCKS, queries, spread=shared is None))
            sums.add(keys[part], [value[part] for value in values])
        sums.close()
    return [each.numpy() for each in vectors], statistics.numpy()


def compiled() -> dict[str, list[int]]:
    """By kernel and card: bytes of shared memory, and how many instructions multiply on the tensor cores."""
    found = {}
    described = replace(TILES[0], described=True)
    for card, tile, kind in ((90, TILES[0], "fp16"), (90, described, "bf16"), (89, TILES[1], "fp16")):
        size = {"ROWS": tile.rows, "COLUMNS": tile.columns, "DEPTH": tile.depth, "GROUP": tile.group}
        kinds = {"SPREAD": True, "WHOLE": kind == "bf16", "DESCRIBED": tile.described, "LASTING": tile.lasting}
        kernels: dict[str, dict] = {"weigh": size | kinds, "settle": {"ROWS": 32, "SPREAD": True}}
        kernels |= {"follow": {"COLUMNS": tile.columns}, "rescale": {"COLUMNS": 256}}
        for name, constants in kernels.items():
            warps = {"num_warps": tile.warps, "num_stages": tile.stages} if name == "weigh" else {"num_warps": 1}
            made = compile_for(card, getattr(fused_kernels, name), kind, constants, warps)
            multiplied = made.asm["ptx"].count("mma.sync") + made.asm["ptx"].count("wgmma.mma_async")
            found[f"{name} {card} {kind}"] = [made.metadata.shared, multiplied]
    return found


def compile_for(card: int, kernel, kind: str, constants: dict, options: dict):
    """Down to the machine code of a card of compute capability `card` / 10."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {"queries": f"*{kind}", "keys": f"*{kind}", "weights": f"*{kind}", "scale": "fp32"}
    if constants.get("DESCRIBED"):
        for name, height in (("queries", "ROWS"), ("keys", "COLUMNS")):
            types[name] = f"tensordesc<{kind}[{constants[height]}, {constants['DEPTH']}]>"
    types |= dict.fromkeys(COUNTS, "i32") | dict.fromkeys(constants, "constexpr")
    names = [parameter.name for parameter in kernel.params]
    free = ("rows", "columns", "tiles", "scale", *constants)
    attributes = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names)
                  if name not in free and not types.get(name, "").startswith("tensordesc")}  # fmt: skip
    source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in names}, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", card, 32), options=options)


if __name__ == "__main__":
    print(json.dumps({"interpret": interpret, "compile": compiled}[sys.argv[1]]()))
