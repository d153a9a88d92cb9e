"""What the operating system refuses is not a bug: real refusals, through the libraries that wrap them."""

import errno
import json
import os
import pwd
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import McrError, TryAgainError, UserError
from pipeline.files.atomic import atomic_path, write_bytes
from pipeline.files.os_errors import errno_of, explained
from pipeline.store.scratch import open_scratch

ROOT = Path(__file__).parents[2]


def refusal(action: Callable[[], object]) -> McrError:
    """What is said about the error of `action`."""
    try:
        action()
    except McrError as said:
        return said
    except Exception as error:
        if said := explained(error):
            return said
        raise AssertionError("taken for a bug") from error
    raise AssertionError("nothing was refused")


# Each library writes more than the process may: the system refuses with EFBIG, as it would a full disk with ENOSPC.
WRAPPED = """
import json, resource, sys
import faiss, numpy, pyarrow, soundfile, torch
import pyarrow.parquet as parquet
from pathlib import Path
from PIL import Image
from safetensors.torch import save_file
from pipeline.files.os_errors import errno_of

def index(path):
    index = faiss.IndexFlatIP(8)
    index.add(numpy.zeros((10_000, 8), "f4"))
    faiss.write_index(index, path)

noise = numpy.random.default_rng(0).integers(0, 255, (300, 300, 3), "u1")
writers = {
    "pyarrow": lambda path: parquet.write_table(pyarrow.table({"a": noise.ravel()}), path, compression="none"),
    "safetensors": lambda path: save_file({"a": torch.zeros(100_000)}, path),
    "pillow": lambda path: Image.fromarray(noise).save(path, "PNG"),
    "soundfile": lambda path: soundfile.write(path, noise.ravel() / 255, 16_000, format="WAV"),
    "torch": lambda path: torch.save({"a": torch.zeros(100_000)}, path),
    "faiss": index,
    "numpy": lambda path: numpy.save(path, noise),
    "json": lambda path: Path(path).write_text(json.dumps(noise.tolist())),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
said = {}
for name, write in writers.items():
    try:
        write(f"{sys.argv[1]}/{name}.npy")
    except Exception as error:
        said[name] = errno_of(error)
print(json.dumps(said))
"""


def test_the_refusal_is_found_below_the_errors_of_every_library_that_writes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRAPPED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    silent = {"soundfile", "torch", "numpy"}  # They say that a write failed and not why.
    assert said == {name: errno.EIO if name in silent else errno.EFBIG for name in said}
    assert len(said) == 8


def test_a_missing_or_misplaced_file_is_found_below_the_errors_of_every_library_that_reads(tmp_path):
    import faiss
    import pyarrow.parquet as pq
    import soundfile
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    readers = [faiss.read_index, pq.ParquetFile, torch.load, Image.open, load_file, np.load, soundfile.read]
    (tmp_path / "folder").mkdir()
    for read in readers:
        for name in ("none", "x" * 300, *(["folder"] if read is not soundfile.read else [])):
            assert refusal(lambda read=read, name=name: read(str(tmp_path / name))).exit_code in (2, 75)


def test_a_database_that_may_not_be_written_says_so(tmp_path):
    (tmp_path / "there.db").touch()
    with pytest.raises(sqlite3.OperationalError) as no_folder:
        open_scratch(tmp_path / "gone")
    with (
        closing(sqlite3.connect(f"file:{tmp_path}/there.db?mode=ro", uri=True)) as database,
        pytest.raises(sqlite3.OperationalError) as read_only,
    ):
        database.execute("create table one (two)")
    for raised in (no_folder, read_only):
        assert (said := explained(raised.value, tmp_path)) and said.exit_code == 2
        assert "permission is denied" in said.message


def test_memory_that_cannot_be_had_says_so_in_every_library():
    import pyarrow as pa
    import torch

    for allocate in (lambda: np.zeros(1 << 50), lambda: torch.zeros(1 << 50), lambda: pa.allocate_buffer(1 << 55)):
        said = refusal(allocate)
        assert said.exit_code == 75 and "memory ran out" in said.message


@pytest.mark.parametrize(
    "name", ["ENOSPC", "EDQUOT", "EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "ETXTBSY", "EBUSY"]
)
def test_a_retry_helps_where_the_machine_is_the_cause(name):
    said = explained(OSError(getattr(errno, name), "x", "/data/part"))
    assert isinstance(said, TryAgainError) and said.exit_code == 75
    assert said.message.startswith("/data/part: ") and "run the same command again to continue" in said.hint


@pytest.mark.parametrize(
    "name", ["EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "ENOENT", "ELOOP", "ENAMETOOLONG", "EXDEV", "EMLINK"]
)
def test_the_user_has_to_put_right_what_a_retry_does_not(name):
    said = explained(OSError(getattr(errno, name), "x", "/data/part"))
    assert isinstance(said, UserError) and said.message.startswith("/data/part: ")


REFUSED = """
import os, sys
from pathlib import Path
from pipeline.errors import UserError
from pipeline.files.atomic import write_bytes
from pipeline.store.scratch import open_scratch, scratch_database
os.umask(0)
for name, mode in (("theirs", 0o755), ("locked", 0o700)):
    Path(name).mkdir(mode)
    Path(name, "file").write_bytes(b"x")
os.chmod("theirs/file", 0o600)
Path("numbered").mkdir(0o755)
os.chown("numbered", 4711, 4711)
os.setuid(65534)
def scratch():
    with scratch_database(Path("theirs")) as database:
        database.execute("create table one (two)")
        raise SystemExit
for action in (
    lambda: write_bytes(Path("theirs/new"), b"x"), lambda: Path("theirs/file").read_bytes(),
    lambda: write_bytes(Path("locked/below/new"), b"x"), scratch,
    lambda: write_bytes(Path("numbered/new"), b"x"), lambda: write_bytes(Path("new"), b"x"),
):
    try:
        action()
    except UserError as error:
        print(error.message, error.hint)
    except OSError as error:
        from pipeline.files.os_errors import explained
        print((said := explained(error)).message, said.hint)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_whose_it_is_is_said_where_somebody_may_not(tmp_path):
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    places = ["theirs", "theirs/file", "locked", "theirs", "numbered", str(tmp_path)]
    assert [line.partition(":")[0] for line in said] == places, done.stderr
    assert "it belongs to user 4711. Let its owner" in said[4] and "it belongs to user root" in said[5]
    assert all(
        "permission is denied; it belongs to user root. Let its owner change its mode, or work in a copy" in x
        for x in said[:4]
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_is_read_only_is_called_so_also_where_a_library_says_less(tmp_path):
    program = (
        "import sys; from pathlib import Path; from pipeline.store.scratch import scratch_database\n"
        "with scratch_database(Path(sys.argv[1])): pass"
    )
    mount = f"mount -t tmpfs -o ro none {tmp_path} && exec {sys.executable} -c '{program}' {tmp_path}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    if "mount" in done.stderr.partition("\n")[0]:
        pytest.skip("this machine does not permit it")
    assert f"UserError: {tmp_path}: the file system is read-only." in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_on_a_disk_that_is_read_only(tmp_path):
    """Another folder would not help."""
    program = (
        "import os; from pathlib import Path; from pipeline.files.os_errors import explained\n"
        "os.setuid(65534)\ntry: Path('file').read_bytes()\nexcept OSError as error: print(explained(error).message)"
    )
    mount = "mount -t tmpfs none . && cd . && touch file && chmod 600 file && mount -o remount,ro . && exec"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'cd {tmp_path} && {mount} {sys.executable} -c "{program}"'], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    if "mount" in done.stderr.partition("\n")[0]:
        pytest.skip("this machine does not permit it")
    assert done.stdout == "file: permission is denied; it belongs to user root.\n", done.stderr


def test_a_user_without_a_name():
    """As in a container that was started with `-u 1000`: DVC asks for the name."""
    with pytest.raises(KeyError) as caught:
        pwd.getpwuid(2**31 - 7)
    said = explained(caught.value)
    assert isinstance(said, UserError) and "export LOGNAME=" in said.hint


def test_a_library_for_which_memory_is_too_small_is_no_bug():
    said = explained(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
    assert said and said.exit_code == 75 and "memory ran out" in said.message


def test_a_disk_with_room_and_no_more_files_says_so(tmp_path, monkeypatch):
    full = SimpleNamespace(f_files=9, f_favail=0, f_flag=0)
    monkeypatch.setattr("os.statvfs", lambda place: full)
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=5))
    said = explained(OSError(errno.ENOSPC, "x", str(tmp_path / "part")))
    assert said and f"as many files as {tmp_path} can" in said.message and "bytes are free" not in said.message
    full.f_files = 0
    assert "5 bytes are free" in explained(OSError(errno.ENOSPC, "x", str(tmp_path / "part"))).message


def test_our_own_mistakes_stay_bugs():
    for error in (KeyError("No space left on device"), ValueError("[Errno 28]"), OSError("text alone"), IndexError()):
        assert explained(error) is None
    with pytest.raises(OSError, match="Bad file") as caught:
        os.fsync(12345)
    assert explained(caught.value) is None
    try:
        try:
            os.stat("/nonexistent")
        except OSError:
            {}["a mistake in the handling of an error is a mistake"]
    except KeyError as error:
        mistake = error
    assert isinstance(mistake.__context__, OSError) and errno_of(mistake) is None


def in_the_way(tmp_path: Path) -> list[tuple[Path, str]]:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder/part").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    return [
        (tmp_path / "file/part", "something else is in its place"),
        (tmp_path / "folder", "a folder where a file is expected"),
        (tmp_path / "loop/folder/part", "circle"),
        (tmp_path / ("x" * 300), "too long"),
    ]


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    for path, reason in in_the_way(tmp_path):
        said = refusal(lambda path=path: write_bytes(path, b"content"))
        assert isinstance(said, UserError) and reason in said.message and str(path)[:40] in said.message
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_says_what_is_needed_and_what_is_free(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = refusal(lambda: write_bytes(tmp_path / "part", b"x" * 12_345))
    assert said.message.startswith(
        f"{tmp_path / 'part'}: no space is left on the disk; it needs 12,345 bytes or more; "
    )
    assert f"bytes are free in {tmp_path}" in said.message
    assert not list(tmp_path.iterdir())


def test_too_many_open_files(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

        def open_many() -> None:
            while True:
                held.append(open("/dev/null"))  # noqa: SIM115

        said = refusal(open_many)
    finally:
        for file in held:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said.exit_code == 75 and "ulimit -n" in said.hint


def test_files_get_the_mode_of_the_umask_whatever_wrote_them(tmp_path):
    import torch
    from safetensors.torch import save_file

    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            with atomic_path(tmp_path / "weights") as temporary:
                save_file({"a": torch.zeros(3)}, temporary)  # by itself 0600
        finally:
            os.umask(before)
        assert (tmp_path / "weights").stat().st_mode & 0o777 == mode
