"""Published evaluation sets: each is read in the layout of its publishers, and written as corpora and tables of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.prepare.captioned import read_audiocaps, read_clotho, read_coco, read_flickr30k
from pipeline.prepare.classified import (
    read_audioset,
    read_esc50,
    read_imagenet,
    read_modelnet40,
    read_objaverse_lvis,
)
from pipeline.prepare.prepared import Prepared
from pipeline.prepare.sounding import (
    read_ave,
    read_extended_flickr,
    read_extended_vggss,
    read_flickr_soundnet,
    read_music_solo,
    read_vggss,
)
from pipeline.prepare.stamps import read_tuxpaint, read_tuxpaint_speech

Preparation = Mapping[str, Mapping[str, str | int]]


@dataclass(frozen=True)
class PublishedSet:
    """How a set is read, what it is for, and how its classes are said unless the user says otherwise.

    Attributes:
        read: From its folder and templates to its content.
        tasks: Kinds of tasks that it serves: retrieval, class (retrieval by class), classification, tagging, localisation.
        templates: Prompts; none where the set's own folder gives them, or where it has no classes.
        preparation: By encoder family: options of the jobs that embed the set's point clouds, where its protocol has its own.
    """

    read: Callable[[Path, tuple[str, ...]], Prepared]
    tasks: tuple[str, ...]
    templates: tuple[str, ...] = ()
    preparation: Preparation = field(default_factory=dict)


# salesforce/ULIP, data/dataset_3d.py: 8,192 farthest points, and then the unit sphere.
BY_ULIP: Preparation = {"ulip2": {"points": 8192, "sampling": "farthest", "normalisation": "sampled_unit_sphere"}}
# OpenShape's files have 10,000 points, which the authors of C-MCR take as they are.
AS_THEY_ARE: Preparation = {"ulip2": {"points": 10_000, "normalisation": "none"}}
SOUND, PICTURE = ("This is a sound of {}.",), ("a photo of a {}.",)
SETS = {
    "ave": PublishedSet(read_ave, ("retrieval", "tagging"), SOUND),
    "flickr-soundnet": PublishedSet(read_flickr_soundnet, ("retrieval", "localisation")),
    "vggss": PublishedSet(read_vggss, ("retrieval", "localisation"), SOUND),
    "music-solo": PublishedSet(read_music_solo, ("localisation",)),
    "extended-vggss": PublishedSet(read_extended_vggss, ("localisation",), SOUND),
    "extended-flickr": PublishedSet(read_extended_flickr, ("localisation",)),
    "audiocaps": PublishedSet(read_audiocaps, ("retrieval",)),
    "clotho": PublishedSet(read_clotho, ("retrieval",)),
    "coco": PublishedSet(read_coco, ("retrieval",)),
    "flickr30k": PublishedSet(read_flickr30k, ("retrieval",)),
    "esc50": PublishedSet(read_esc50, ("classification",), SOUND),
    "audioset": PublishedSet(read_audioset, ("tagging",), SOUND),
    "modelnet40": PublishedSet(read_modelnet40, ("classification",), preparation=BY_ULIP),
    "objaverse-lvis": PublishedSet(read_objaverse_lvis, ("classification", "retrieval"), preparation=AS_THEY_ARE),
    "imagenet": PublishedSet(read_imagenet, ("classification",), PICTURE),
    "tuxpaint": PublishedSet(read_tuxpaint, ("retrieval",)),
    "tuxpaint-speech": PublishedSet(read_tuxpaint_speech, ("retrieval",)),
}
