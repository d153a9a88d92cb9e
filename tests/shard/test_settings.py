"""What params.yaml says of a corpus reaches the library."""

from pipeline.shard.build import settings_of
from pipeline.shard.members import Conversion
from pipeline.shard.settings import CorpusSettings
from pipeline.shard.sources.known import BUILT_IN
from pipeline.shard.sources.options import KINDS, SourceOptions


def test_every_setting_arrives():
    corpus = CorpusSettings(
        source="s3://bucket/coco", modalities=("image", "text"), kind="coco", index="captions.json", files="val",
        key_column="k", item_column="i", text_column="t", path_column="p", captions="all", samples_per_shard=7, duplicates="first",
        drop_duplicates=True, max_side=256, points=99, sampling_seed=5, max_rejected=0.2,
    )  # fmt: skip
    settings, options = settings_of(corpus, 0.01)
    assert options == SourceOptions(("image", "text"), "coco", "captions.json", "val", "k", "i", "t", "p", "all")
    assert settings.conversion == Conversion(256, 99, 5)
    assert (settings.samples_per_shard, settings.duplicates, settings.drop_duplicates) == (7, "first", True)
    assert settings.max_rejected == 0.2


def test_defaults_leave_files_as_they_are_and_take_the_common_limit():
    settings, options = settings_of(CorpusSettings(source="x", modalities=("audio",)), 0.01)
    assert (settings.max_rejected, settings.conversion, options) == (0.01, Conversion(), SourceOptions(("audio",)))


def test_every_kind_has_a_reader():
    assert set(KINDS) == {"auto", *BUILT_IN}
