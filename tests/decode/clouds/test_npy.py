"""Headers of `.npy` files that NumPy does not write: refused like any damaged file, whatever NumPy makes of them."""

import contextlib
from itertools import product

import pytest

from pipeline.decode.clouds.npy import any_header, read_npy
from pipeline.decode.clouds.points import decode_points
from pipeline.errors import SampleError
from pipeline.shard.formats.openshape import openshape_dictionary

DESCRIPTIONS = (
    "()", "[]", "{}", "'<f4'", "('<f4', (2,))", "('<f4', -1)", "[('a',)]", "[('', '<f4')]", "'V0'", "'S0'", "1j", "b'<f4'",
    "[(('a', 'b', 'c'), '<f4')]", "('O', 2)", "'M8[xx]'", "('<f4', (10**10, 10**10))", "[['a', '<f4']]", "((), ())",
)  # fmt: skip
SHAPES = ("(1, 3)", "(True, 3)", "()", "3", "(-1, 3)", "(1.5, 3)", "(10**30, 3)", "('a',)", "((1,), 3)")


@pytest.mark.parametrize("read", [any_header, read_npy, decode_points, openshape_dictionary])
def test_crafted_headers(read):
    for description, shape, order in product(DESCRIPTIONS, SHAPES, ("False", "1")):
        header = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}}}\n".encode()
        with contextlib.suppress(SampleError):
            read(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
