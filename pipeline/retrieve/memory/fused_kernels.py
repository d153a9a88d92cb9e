"""The aggregation's kernels in Triton: a product whose scores become 16-bit weights before they leave the processor.

Shifts are whole powers of two, so that moving one changes no bit of a weight, save where it falls below what 16 bits hold.
All sums are taken in an order that does not depend on which program is faster.
"""

# mypy: ignore-errors
# Triton reads annotations as its own: those of Python have no place in a kernel.

import triton
import triton.language as tl

# Exponents of the largest weight: what a new shift leaves it, and what it may grow to before the shift has to follow.
# float16 ends at 2^16 - 32.
LIFT, ROOF = tl.constexpr(14.0), tl.constexpr(15.99)


# Numbers of rows differ from block to block: a kernel made for each of them would be made often.
_COUNTS = ["rows", "columns", "tiles"]


@triton.jit(do_not_specialize=_COUNTS)
def weigh(
    queries, keys, shifts, weights, tops, exponents, totals, rounded, spreads,
    rows, columns, width, query_stride, key_stride, weight_stride, scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr, SPREAD: tl.constexpr,
    WHOLE: tl.constexpr, DESCRIBED: tl.constexpr, LASTING: tl.constexpr,
):  # fmt: skip
    """One tile of weights 2^(scale q . k - exponent), [ROWS, COLUMNS], and what it adds to each of its rows' sums.

    `exponent` is the row's shift, or the tile's own where a weight would not fit 16 bits beside that. Statistics go to
    [tile, row]: the largest q . k, the exponent, the sum of the weights before and after rounding, and, with SPREAD, the sum
    of weight x (scale q . k - exponent). WHOLE: `width` is a multiple of DEPTH. DESCRIBED: queries and keys are descriptors.
    """
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    # There are as many programs as tiles, or as processors, which then load for the next tile while one is written.
    for program in tl.range(tl.program_id(0), down * across, tl.num_programs(0), flatten=LASTING):
        # Programs that run at the same time share rows and columns, so that both stay in the L2 cache.
        group = program // (GROUP * across)
        height = min(down - group * GROUP, GROUP)
        row_tile = group * GROUP + (program % (GROUP * across)) % height
        tile = (program % (GROUP * across)) // height
        row = row_tile * ROWS + tl.arange(0, ROWS)
        column = tile * COLUMNS + tl.arange(0, COLUMNS)
        scores = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        if DESCRIBED:
            for first in range(0, width, DEPTH):
                left = queries.load([row_tile * ROWS, first])
                right = keys.load([tile * COLUMNS, first])
                scores = tl.dot(left, right.T, scores)
        else:
            depth = tl.arange(0, DEPTH)
            # Rows and columns past the end read the last one again: nothing of theirs is kept.
            query_at = queries + tl.minimum(row, rows - 1)[:, None] * query_stride + depth[None, :]
            key_at = keys + tl.minimum(column, columns - 1)[None, :] * key_stride + depth[:, None]
            for first in range(0, width, DEPTH):
                if WHOLE:
                    left, right = tl.load(query_at), tl.load(key_at)
                else:
                    inside = depth < width - first
                    left = tl.load(query_at, mask=inside[None, :], other=0.0)
                    right = tl.load(key_at, mask=inside[:, None], other=0.0)
                scores = tl.dot(left, right, scores)
                query_at += DEPTH
                key_at += DEPTH
        scores = tl.where((column < columns)[None, :], scores, float("-inf"))
        top = tl.max(scores, 1)
        shift = tl.load(shifts + row, mask=row < rows, other=0.0)
        high = top * scale
        exponent = tl.where(high > shift + ROOF, tl.ceil(high) - LIFT, shift)
        logits = scores * scale - exponent[:, None]
        exact = tl.exp2(logits)
        held = exact.to(weights.dtype.element_ty)
        # Columns past the end are zeros in what fills up the buffer.
        tl.store(weights + row[:, None] * weight_stride + column[None, :], held, mask=(row < rows)[:, None])
        at = tile * rows + row
        tl.store(tops + at, top, mask=row < rows)
        tl.store(exponents + at, exponent, mask=row < rows)
        tl.store(totals + at, tl.sum(exact, 1), mask=row < rows)
        tl.store(rounded + at, tl.sum(held.to(tl.float32), 1), mask=row < rows)
        if SPREAD:
            # 0 x -inf is not a number, and a weight of 0 adds nothing.
            tl.store(spreads + at, tl.sum(exact * tl.where(exact > 0, logits, 0.0), 1), mask=row < rows)


@triton.jit(do_not_specialize=_COUNTS)
def settle(
    shifts, factors, running_tops, running_totals, running_rounded, running_spreads,
    tops, exponents, totals, rounded, spreads, rows, tiles,
    ROWS: tl.constexpr, SPREAD: tl.constexpr,
):  # fmt: skip
    """Add the statistics of all tiles to those of ROWS rows; their shifts follow the highest exponent of a tile.

    `factors` [row] become what earlier sums of the row have to be multiplied by: 1 where its shift stays.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    before = tl.load(shifts + row, mask=inside, other=0.0)
    top = tl.load(running_tops + row, mask=inside, other=0.0)
    shift = before
    for tile in range(0, tiles):
        at = tile * rows + row
        shift = tl.maximum(shift, tl.load(exponents + at, mask=inside, other=0.0))
        top = tl.maximum(top, tl.load(tops + at, mask=inside, other=0.0))
    # Before the first block the shift is -inf and the sums are empty: the factor is 0.
    factor = tl.exp2(before - shift)
    total = tl.load(running_totals + row, mask=inside, other=0.0)
    spread = tl.zeros((ROWS,), dtype=tl.float32)
    if SPREAD:
        change = tl.where(before == float("-inf"), 0.0, before - shift)
        spread = (tl.load(running_spreads + row, mask=inside, other=0.0) + total * change) * factor
    total *= factor
    kept = tl.load(running_rounded + row, mask=inside, other=0.0) * factor
    for tile in range(0, tiles):
        at = tile * rows + row
        change = tl.load(exponents + at, mask=inside, other=0.0) - shift
        share = tl.exp2(change)
        own = tl.load(totals + at, mask=inside, other=0.0)
        if SPREAD:
            spread += share * (tl.load(spreads + at, mask=inside, other=0.0) + own * change)
        total += share * own
        kept += share * tl.load(rounded + at, mask=inside, other=0.0)
    tl.store(shifts + row, shift, mask=inside)
    tl.store(factors + row, factor, mask=inside)
    tl.store(running_tops + row, top, mask=inside)
    tl.store(running_totals + row, total, mask=inside)
    tl.store(running_rounded + row, kept, mask=inside)
    if SPREAD:
        tl.store(running_spreads + row, spread, mask=inside)


@triton.jit(do_not_specialize=_COUNTS)
def follow(
    weights, shifts, factors, exponents, rows, tiles, weight_stride,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """Bring the weights of one row, where its shift has moved, from the exponents of their tiles to it."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(factors + row) != 1.0:
        shift = tl.load(shifts + row)
        for tile in range(0, tiles):
            share = tl.exp2(tl.load(exponents + tile * rows + row) - shift)
            if share != 1.0:
                at = weights + row * weight_stride + tile * COLUMNS + tl.arange(0, COLUMNS)
                tl.store(at, (tl.load(at).to(tl.float32) * share).to(weights.dtype.element_ty))


@triton.jit
def rescale(sums, factors, width, stride, COLUMNS: tl.constexpr):
    """Multiply one row of `sums` by its factor, unless that is 1."""
    row = tl.program_id(0).to(tl.int64)
    factor = tl.load(factors + row)
    if factor != 1.0:
        for first in range(0, width, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            at = sums + row * stride + column
            tl.store(at, tl.load(at, mask=column < width, other=0.0) * factor, mask=column < width)
