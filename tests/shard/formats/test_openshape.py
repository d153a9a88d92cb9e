"""OpenShape's dictionaries become arrays, and no pickle is ever run."""

import io
import os
import pickle
import pickletools
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.errors import SampleError, UserError
from pipeline.progress import Silent
from pipeline.shard.formats.inert_pickle import read_inert
from pipeline.shard.formats.openshape import convert_openshape, openshape_dictionary
from tests.shard.makers import cloud, npy, shards

XYZ = cloud(1, 100).astype(np.float16)
RGB = np.random.default_rng(2).random((100, 3)).astype(np.float32)
SHAPE = {
    "dataset": "Objaverse",
    "group": "000-000",
    "id": "abc",
    "text": ["a chair"],
    "xyz": XYZ,
    "rgb": RGB,
    "retrieval_text": [{"text": "a", "score": 0.5}],
    "image_feat": np.asfortranarray(np.random.default_rng(3).random((12, 16))),
    "count": np.int64(7),
    "none": None,
}


@pytest.mark.parametrize("protocol", range(5))
def test_a_dictionary_is_what_numpy_would_have_read(protocol):
    found = read_inert(pickle.dumps(SHAPE, protocol=protocol))
    assert list(found) == list(SHAPE)
    for name, value in SHAPE.items():
        np.testing.assert_array_equal(found[name], value)
        assert getattr(found[name], "dtype", None) == getattr(value, "dtype", None) or name == "count"


def test_a_file_as_numpy_writes_it():
    """NumPy 2 moved the modules that are named in the file; files of both ages are read."""
    content = npy(np.array(SHAPE, object), pickled=True).replace(b"numpy._core", b"numpy.core")
    for age in (content, content.replace(b"numpy.core", b"numpy._core")):
        np.testing.assert_array_equal(openshape_dictionary(age)["xyz"], XYZ)


class Attack:
    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


def attacks(canary):
    command = f"touch {canary}"
    calls = [
        Attack(os.system, command),
        Attack(subprocess.Popen, ["touch", str(canary)]),
        Attack(eval, f"open({str(canary)!r}, 'w')"),
        Attack(exec, f"open({str(canary)!r}, 'w')"),
        Attack(open, str(canary), "w"),
        Attack(getattr, os, "system"),
        Attack(np.load, str(canary), None, True),
        Attack(np.fromfile, str(canary)),
        Attack(__import__, "os"),
        Attack(np.dtype, Attack(os.system, command)),
    ]
    for protocol in range(5):
        for call in calls[:5] + calls[6:]:
            yield pickle.dumps(call, protocol)
            yield pickle.dumps({"xyz": call}, protocol)
    yield b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."
    yield b"(S'" + command.encode() + b"'\nios\nsystem\n."
    yield b"(cos\nsystem\nS'" + command.encode() + b"'\no."
    yield b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command.encode() + b"\x85R."
    yield b"cnumpy\ndtype\n(dS'__class__'\ncos\nsystem\nsb."
    yield b"\x80\x02\x82\x01."  # extension registry
    yield b"Pid\n."  # persistent id


def test_no_pickle_is_run(tmp_path):
    canary = tmp_path / "canary"
    folder = tmp_path / "in"
    folder.mkdir()
    count = 0
    for count, content in enumerate(attacks(canary), 1):
        with pytest.raises(SampleError):
            read_inert(content)
        header = npy(np.array({}, object), pickled=True)
        (folder / f"{count}.npy").write_bytes(header[: header.index(b"\n") + 1] + content)
    assert count > 90
    result = convert_openshape(folder, tmp_path / "out", False, Silent())
    assert result.written == 0 and len(result.refused) == count
    rejected = shards_of(folder, tmp_path)
    assert len(rejected) == count
    assert not canary.exists()


def shards_of(folder, tmp_path):
    """What the shard stage itself says of such files."""
    (folder / "good.npy").write_bytes(npy(cloud(1)))
    return shards(folder, tmp_path / "shards", "point")[1]


def test_damage_anywhere_ends_in_an_answer():
    whole = pickle.dumps({"xyz": cloud(1, 2), "text": ["a"]}, 4)
    generator = np.random.default_rng(0)
    for _ in range(3000):
        mutant = bytearray(whole)
        mutant[generator.integers(len(mutant))] = generator.integers(256)
        try:
            read_inert(bytes(mutant[: generator.integers(1, len(mutant) + 1)] if generator.random() < 0.3 else mutant))
        except SampleError:
            continue


def test_the_reader_follows_only_what_it_names():
    """A new instruction of Python is refused until somebody has thought about it."""
    from pipeline.shard.formats import inert_pickle

    machine = inert_pickle._Machine()
    dangerous = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
    assert dangerous <= {opcode.name for opcode in pickletools.opcodes}
    for name in dangerous:
        with pytest.raises(SampleError):
            machine.follow(name, None)


def test_a_folder_is_converted(tmp_path):
    (tmp_path / "in" / "000-000").mkdir(parents=True)
    (tmp_path / "in" / "000-000" / "abc.npy").write_bytes(npy(np.array(SHAPE, object), pickled=True))
    (tmp_path / "in" / "plain.npy").write_bytes(npy(XYZ))
    (tmp_path / "in" / "empty.npy").write_bytes(b"")
    result = convert_openshape(tmp_path / "in", tmp_path / "xyz", False, Silent())
    assert result.written == 1
    assert {path.name for path, _ in result.refused} == {"plain.npy", "empty.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / "xyz" / "000-000" / "abc.npy"), XYZ.astype(np.float32))
    [sample] = shards(tmp_path / "xyz", tmp_path / "shards", "point")[0].values()
    assert sample == {"npy": npy(XYZ.astype(np.float32))}
    convert_openshape(tmp_path / "in", tmp_path / "rgb", True, Silent())
    np.testing.assert_array_equal(
        np.load(tmp_path / "rgb" / "000-000" / "abc.npy"), np.hstack([XYZ.astype(np.float32), RGB])
    )
    with pytest.raises(UserError):
        convert_openshape(tmp_path / "in", tmp_path / "in" / "out", False, Silent())
    with pytest.raises(UserError):
        convert_openshape(tmp_path / "nothing", tmp_path / "out", False, Silent())


def test_the_command(tmp_path):
    import typer

    from stages.tools.data.convert import convert_openshape as command

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "abc.npy").write_bytes(npy(np.array(SHAPE, object), pickled=True))
    (tmp_path / "in" / "bad.npy").write_bytes(b"x")
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "in 2 = 1 out + 1 rejected" in result.output
    assert io.BytesIO((tmp_path / "out" / "abc.npy").read_bytes()).read(6) == b"\x93NUMPY"
