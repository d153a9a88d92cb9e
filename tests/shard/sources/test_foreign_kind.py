"""A kind of source of somebody else: named by the corpus, held to what the stages after it rely on."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.params.load import check_params
from pipeline.progress import Silent
from pipeline.shard.build import build_shards, settings_of
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.known import kind_called
from pipeline.shard.sources.listing import listed_files
from pipeline.store.shards import read_shard
from tests.conftest import png
from tests.test_modalities import parameters

PLUGIN = Path(__file__).parents[2] / "plugin"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose folder of plug-ins brings the kind ``sheaf``, and a corpus of two files of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").mkdir()
    shutil.copy(PLUGIN / "sheaf/source.py", "plugins/sheaves.py")
    table("sheaf = sheaves:SHEAF")
    monkeypatch.setattr(sys, "path", [*sys.path])
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, keys in (("a.sheaf", range(3)), ("b.SHEAF", range(3, 5))):
        members = [(f"k{key} image png", png(key * 40)) for key in keys]
        members += [(f"k{key} text txt", b"a word") for key in keys]
        (raw / name).write_bytes(b"".join(b"%s %d\n%s" % (line.encode(), len(one), one) for line, one in members))
    (raw / "notes.txt").write_text("not a sheaf")
    yield tmp_path
    sys.modules.pop("sheaves", None)


def table(line: str) -> None:
    Path("plugins/entry_points.txt").write_text(f"[mcr_connect.sources]\n{line}\n")


def corpus(*modalities: str, **changes: object) -> CorpusSettings:
    return CorpusSettings.model_validate({"source": "raw", "modalities": modalities, "kind": "sheaf", **changes})


def shard(settings: CorpusSettings, name: str = "out"):
    return build_shards(
        settings.source, Path(name), settings_of(settings, 0.5)[0], Silent(), settings_of(settings, 0.5)[1]
    )


def test_its_samples_go_into_shards_and_what_it_passes_over_is_counted() -> None:
    manifest, computed = shard(corpus("image"))
    assert (manifest.rows, computed) == (5, 1)
    assert manifest.not_read == {".txt": 6}, "five captions and the notes"
    found = {sample.key: sample.members for sample in read_shard(Path("out/00000.tar"))}
    assert found == {f"k{key}": {"png": png(key * 40)} for key in range(5)}
    assert shard(corpus("image"))[1] == 0
    both, _ = shard(corpus("image", "text"), "both")
    assert both.rows == 5 and both.not_read == {".txt": 1}
    assert [Path(entry.name).name for entry in listed_files(corpus("image"))] == ["a.sheaf", "b.SHEAF", "notes.txt"]


def test_its_name_and_the_hash_of_its_code_are_in_the_fingerprint_and_no_other_kind_has_them() -> None:
    made = shard(corpus("image"))[0].fingerprint
    assert made["kind"] == "sheaf" and made["plugin"]["package"] == "plugins/"
    with Path("plugins/sheaves.py").open("a") as file:
        file.write("# another one\n")
    assert shard(corpus("image"))[1] == 1, "another code may find other samples"
    (Path("raw") / "p.png").write_bytes(png(1))
    assert {*shard(corpus("image", kind="folder"), "own")[0].fingerprint} == {"modalities", "code"}


def test_what_the_code_says_is_not_believed(tmp_path: Path) -> None:
    path = Path("plugins/sheaves.py")
    path.write_text(path.read_text().replace("RawMember(extension,", 'RawMember("flac",'))
    with pytest.raises(UserError, match="gives 'k0' a member of the modality image that ends in .flac"):
        shard(corpus("image"))
    assert not list(Path("out").rglob("*.tar"))


def test_what_fails_in_the_code_is_said_to_be_its_own_fault() -> None:
    path = Path("plugins/sheaves.py")
    path.write_text(path.read_text().replace('extension = f"', 'options.gone; extension = f"'))
    with pytest.raises(UserError, match=r"'sheaf' of plugins/ failed \(AttributeError: .*'gone'") as error:
        shard(corpus("image"))
    assert isinstance(error.value.__cause__, AttributeError) and "Repair plugins/" in error.value.hint
    Path("raw/gone.sheaf").symlink_to("nowhere")
    path.write_text((PLUGIN / "sheaf/source.py").read_text().replace("folder.open(name)", 'folder.open("gone.sheaf")'))
    sys.modules.pop("sheaves")
    with pytest.raises(OSError, match="a link to nowhere"):
        shard(corpus("image"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "yield RawSample(key, members)",
            "yield key, members",
            r"'sheaf' of plugins/ gives \('k0', .* not a `RawSample`",
        ),
        ("yield RawSample(key, members)", "yield RawSample(7, members)", "not a `RawSample`"),
        ("yield RawSample(key, members)", "yield RawSample(key, {'image': b'bytes'})", "not a `RawSample`"),
    ],
)
def test_what_is_no_sample_is_its_own_fault_too(before: str, after: str, message: str) -> None:
    path = Path("plugins/sheaves.py")
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(UserError, match=message):
        shard(corpus("image"))


def test_a_broken_file_is_a_reject_with_what_the_kind_says() -> None:
    Path("raw/c.sheaf").write_bytes(b"k9 image png 5\n12345k10 image")
    manifest, _ = shard(corpus("image"))
    rejects = pd.read_parquet("out/_failures.parquet").set_index("key").message
    assert manifest.rows == 5 and set(rejects.index) == {"k9", "c.sheaf"}
    assert "does not say what follows" in rejects["c.sheaf"]


@pytest.mark.parametrize("given", ["None", "'text'", "7"])
def test_a_container_that_gives_no_bytes_is_a_reject(given: str) -> None:
    path = Path("plugins/sheaves.py")
    path.write_text(path.read_text().replace("return file.read(min(length, limit))", f"return {given}"))
    with pytest.raises(UserError, match="5 of 5 samples were rejected.*Sheaf gives a .*, not bytes"):
        shard(corpus("image"))


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("sheaf = sheaves:Sheaf", "sheaf", "'sheaf' of plugins/ is not a `SourceKind`"),
        ("sheaf = sheaves:GONE", "sheaf", "'sheaf' of plugins/ cannot be loaded"),
        ("folder = sheaves:SHEAF", "folder", "'folder' of plugins/ has the name of a built-in one"),
        ("auto = sheaves:SHEAF", "auto", "'auto' of plugins/ has the name of a built-in one"),
    ],
)
def test_a_mistake_in_the_folder_is_the_users(line: str, kind: str, message: str) -> None:
    table(line)
    with pytest.raises(UserError, match=message):
        kind_called(kind)


def test_a_kind_that_nobody_brings_is_named_with_the_nearest() -> None:
    raw = parameters()
    raw["corpora"]["photos"]["kind"] = "sheav"
    with pytest.raises(UserError) as error:
        check_params(raw, "params.yaml")
    assert "corpora.photos.kind = 'sheav'" in error.value.message and "did you mean 'sheaf'?" in error.value.message
    raw["corpora"]["photos"]["kind"] = "sheaves:SHEAF"
    with pytest.raises(UserError, match=r"corpora\.photos\.kind"):
        check_params(raw, "params.yaml")
