"""Pictures or sounds with captions, and where each layout was looked up."""

import json

from tests.makers.miniatures.files import Files, media, table

LOOKED_UP = {
    "audiocaps": """cdjkim/audiocaps at d004db3, dataset/test.csv: a header, CRLF, 4,875 rows of 975 clips with five captions, captions
        with a comma in quotes, ids that begin with a dash.""",
    "clotho": """Labbeti/aac-datasets at 631524f, datasets/functional/clotho.py (columns file_name, caption_1 to caption_5), and a copy of
        the evaluation file with translations between the columns, JuheeGJGJ/Caption_America-Demo at ae206ab: CRLF, 1,045 rows, names with
        blanks and brackets.""",
    "coco": """ruotianluo/ImageCaptioning.pytorch at 020aff8, scripts/prepro_labels.py, which reads dataset_coco.json: `images`, each with
        filepath, filename, split and sentences with tokens. Splits train, restval, val and test, `raw` beside tokens, five captions or a
        few more, and 5,000 test pictures are from memory. In Delphboy/karpathy-splits at c6c92d2 the file is a Git LFS pointer.""",
    "flickr30k": """As of COCO, dataset_flickr30k.json, without filepath; 1,000 test pictures, from memory.""",
}


def karpathy(pictures: dict[str, str], folder: str) -> str:
    return json.dumps(
        {
            "dataset": "small",
            "images": [
                {
                    "filename": f"{name}.jpg",
                    **({"filepath": folder} if folder else {}),
                    "split": split,
                    "sentences": [{"raw": f"{name} {number}", "tokens": [name]} for number in range(6)],
                }
                for name, split in pictures.items()
            ],
        }
    )


FILES: dict[str, Files] = {
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
}
