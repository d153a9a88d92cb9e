"""Every published set in small: files by path, in the layout of their publishers, with the oddities that they have."""

import csv
import io
import json
from pathlib import Path

from tests.conftest import png

WAV = b"RIFF\x24\0\0\0WAVEfmt "
OFF = b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"


def table(*rows: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def media(folder: str, *names: str, ending: str) -> dict[str, bytes]:
    """Files that differ in their bytes, as pictures and sounds of different samples do."""
    content = {"jpg": png, "png": png, "JPEG": png}.get(ending, lambda number: WAV + bytes([number]))
    return {f"{folder}/{name}.{ending}": content(number) for number, name in enumerate(names)}


def clips(*names: str) -> dict[str, bytes]:
    return media("frames", *names, ending="jpg") | media("audio", *names, ending="wav")


def karpathy(pictures: dict[str, str], folder: str) -> str:
    return json.dumps(
        {
            "dataset": "small",
            "images": [
                {
                    "filename": f"{name}.jpg",
                    "filepath": folder,
                    "split": split,
                    "sentences": [{"raw": f"{name} {number}", "tokens": [name]} for number in range(6)],
                }
                for name, split in pictures.items()
            ],
        }
    )


VGGSS = {
    "vggss.json": json.dumps(
        [
            {"file": "-a1_000010", "class": "dog barking", "bbox": [[0.1, 0.2, 0.5, 0.6], [0.5, -0.1, 1.2, 0.5]]},
            {"file": "b2_000020", "class": "church bell", "bbox": [[0, 0, 1, 1]]},
            {"file": "gone_000030", "class": "rain", "bbox": [[0, 0, 1, 1]]},
        ]
    )
} | clips("-a1_000010", "b2_000020")
XML = "<annotation><person><bbox><name>{}</name><xmin>64</xmin><ymin>0</ymin><xmax>128</xmax><ymax>256</ymax></bbox></person></annotation>"
SOUNDNET = {
    "flickr_test.csv": "111\n222\n",
    "Annotations/111.xml": XML.format("a").replace("</annotation>", XML.format("b")[12:]),
    "Annotations/222.xml": XML.format("c"),
    "Annotations/333.xml": XML.format("d"),
} | clips("111", "222", "333")
NORMBOX = [{"box": [1, 1, 2, 2], "normbox": [0.25, 0.5, 0.5, 0.75], "category_id": 1}]
TEMPLATES = json.dumps({"modelnet40_64": ["a cloud of {}.", "the {}."], "other": ["{}"]})

MINIATURES: dict[str, dict[str, str | bytes]] = {
    # github YapengTian/AVE-ECCV18, data/Annotations.txt: no header, `&` between cells, 4,143 rows of 4,097 videos; 45
    # videos have several rows, each with another class.
    "ave": {
        "Annotations.txt": "Church bell&-vid1&good&0&10\nMale speech, man speaking&vid2&good&3&9\nBark&gone&good&0&10\nBark&vid2&good&0&2\n"
    }
    | clips("-vid1", "vid2", "not-listed"),
    "vggss": VGGSS,
    "flickr-soundnet": SOUNDNET,
    "music-solo": {
        "solotest.json": json.dumps(
            {
                "clip_0_1000/frame_013/00411.jpg": {"bbox": NORMBOX, "wdith": 640, "height": 360},
                "clip_0_1000/frame_014/00441.jpg": {"bbox": [], "wdith": 640, "height": 360},
                "gone_0_1000/frame_001/00030.jpg": {"bbox": NORMBOX, "wdith": 640, "height": 360},
            }
        ),
        **media("frames", "clip_0_1000/frame_013/00411", "clip_0_1000/frame_014/00441", ending="jpg"),
        **media("audio", "clip_0_1000/frame_013", ending="wav"),
    },
    # github stoneMo/SLAVC, metadata/*_test_plus_silent.csv: a header, then non-sounding pairs only (5,158 and 250), the
    # last row without an end of line. Some VGG-SS rows name a clip of VGGSound that is not in VGG-SS, with its own sound.
    "extended-vggss": VGGSS
    | clips("other_000147")
    | {
        "vggss_test_plus_silent.csv": "video,audio,label\nother_000147,other_000147,non-sounding\n"
        "b2_000020,-a1_000010,non-sounding\ngone,b2_000020,non-sounding"
    },
    "extended-flickr": SOUNDNET | {"flickr_test_plus_silent.csv": "video,audio,label\n333,222,non-sounding"},
    "audiocaps": {
        "test.csv": table(
            ("audiocap_id", "youtube_id", "start_time", "caption"),
            (1, "-yt1", 30, "A dog, barking"),
            (2, "-yt1", 30, "Barks"),
            (3, "yt2", 0, "Rain falls"),
            (4, "gone", 0, "Nobody hears this"),
        ),
        **media("audio", "-yt1_30", "Yyt2", ending="wav"),
    },
    "clotho": {
        "clotho_captions_evaluation.csv": table(
            ("file_name", *(f"caption_{n}" for n in range(1, 6))),
            ("City street (1).wav", *(f"street {n}" for n in range(5))),
            ("gone.wav", *"abcde"),
        ),
        **media("evaluation", "City street (1)", ending="wav"),
    },
    "coco": {
        "dataset_coco.json": karpathy({"COCO_val2014_000000000042": "test", "other": "val", "gone": "test"}, "val2014"),
        **media("val2014", "COCO_val2014_000000000042", "other", ending="jpg"),
    },
    "flickr30k": {
        "dataset_flickr30k.json": karpathy({"1007129816": "test", "99": "train"}, ""),
        **media("flickr30k-images", "1007129816", "99", ending="jpg"),
    },
    "esc50": {
        "meta/esc50.csv": table(
            ("filename", "fold", "target", "category", "esc10", "src_file", "take"),
            ("1-100032-A-0.wav", 1, 0, "dog", True, 100032, "A"),
            ("1-17092-B-27.wav", 1, 27, "brushing_teeth", False, 17092, "B"),
        ),
        **media("audio", "1-100032-A-0", "1-17092-B-27", ending="wav"),
    },
    "audioset": {
        "class_labels_indices.csv": 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00003,"Male speech, man speaking"\n2,/m/unused,Owl\n',
        "eval_segments.csv": "# Segments csv created\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"
        '-4gqARaEJE, 0.000, 10.000, "/m/09x0r,/t/dd00003"\ngone, 0.000, 10.000, "/m/09x0r"\n--BfvyPmVMo, 20.000, 30.000, "/m/09x0r"\n',
        **media("audio", "Y-4gqARaEJE", "--BfvyPmVMo", ending="wav"),
    },
    "modelnet40": {
        "modelnet40_shape_names.txt": "airplane\nnight_stand\n",
        "modelnet40_test.txt": "airplane_0627\nnight_stand_0201\n",
        "airplane/airplane_0627.txt": "0.1,0.2,0.3,1,0,0\n-0.1,0.5,0.25,0,1,0\n",
        "night_stand/night_stand_0201.txt": "1,2,3,0,0,1\n",
        "templates.json": TEMPLATES,
    },
    "objaverse-lvis": {
        "lvis-annotations.json": json.dumps({"Band_Aid": ["u1", "u2"], "alligator": ["u3"]}),
        "points/000-001/u1.off": OFF,
        "points/u3.off": OFF.replace(b"1 0 0\n0", b"2 0 0\n0"),
        "templates.json": TEMPLATES,
        **media("images", "u3", ending="png"),
    },
    "imagenet": {
        "LOC_synset_mapping.txt": "n02012849 crane\nn03126707 crane\nn01440764 tench, Tinca tinca\n",
        "LOC_val_solution.csv": table(
            ("ImageId", "PredictionString"),
            ("ILSVRC2012_val_00000001", "n03126707 1 2 3 4 n03126707 2 3 4 5 "),
            ("ILSVRC2012_val_00000002", "n01440764 1 2 3 4 "),
        ),
        **media("ILSVRC/Data/CLS-LOC/val", "ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", ending="JPEG"),
    },
}


def stamps(suffix: str) -> dict[str, str | bytes]:
    """Debian's tuxpaint-stamps-default 2022.06.04: one folder for each kind, translations in the .txt, most sounds .ogg and a few
    .wav, SVG beside PNG, pictures without a description, and letters, whose sounds say their names."""
    names = ("animals/marsupials/koala", "animals/birds/duck", "symbols/alphabets/latin/a")
    return (
        media("usr/share/tuxpaint/stamps", *names, "seasonal/dreydl_mirror", ending="png")
        | media("usr/share/tuxpaint/stamps", *(name + suffix for name in names), ending="wav")
        | media("usr/share/tuxpaint/stamps", "animals/birds/duck_desc_nl", ending="ogg")
        | {
            "usr/share/tuxpaint/stamps/animals/marsupials/koala.txt": "A koala.\nfr.utf8=Un koala.\nde.utf8=Ein Koalabär.\n",
            "usr/share/tuxpaint/stamps/animals/birds/duck.txt": "A duck.\nfr.utf8=Un canard.\n",
            "usr/share/tuxpaint/stamps/symbols/alphabets/latin/a.txt": "The letter A.\n",
            "usr/share/tuxpaint/stamps/animals/birds/duck.dat": "",
            "usr/share/tuxpaint/stamps/animals/birds/goose.svg": "<svg/>",
        }
    )


MINIATURES |= {"tuxpaint": stamps(""), "tuxpaint-speech": stamps("_desc_fr")}


def write(root: Path, name: str) -> Path:
    """The set `name` below `root`."""
    for path, content in MINIATURES[name].items():
        file = root / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root / name
