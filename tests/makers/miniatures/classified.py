"""Samples with classes, and where each layout was looked up."""

import json

from tests.makers.miniatures.files import Files, media, table

OFF = b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
TEMPLATES = json.dumps({"modelnet40_64": ["a cloud of {}.", "the {}."], "shapenet_64": ["{}"]})
LOOKED_UP = {
    "esc50": """karolpiczak/ESC-50, meta/esc50.csv, of which caitlinnguyen0/ESC-50 at 7085beb has 414 rows: a header; 2,000 rows, 50
        classes whose names have underscores.""",
    "audioset": """Copies of Google's files. eval_segments.csv, zhanghangning/multimodel at 1031b53, cut off after 14,032 clips: three lines
        of comment, the third with the columns, blanks after the commas, labels in quotes; by the second line 20,371 clips and 527
        classes. class_labels_indices.csv, danterossi12/Youtube-Download-Automation---Google-Audio-Set at f116c0e: a header, 527 rows, the last
        without an end of line; names with a comma in quotes. Excel has been through the segments there: such a file is refused.""",
    "modelnet40": """salesforce/ULIP at f194ddb, data/dataset_3d.py (names of the files, columns between commas) and data/templates.json
        (modelnet40_64 and shapenet_64, 64 texts each). 2,468 clouds of 10,000 rows x, y, z, nx, ny, nz, from memory.""",
    "objaverse-lvis": """ShayaanMalik26/Instant-Mesh-Backup-Repo at db49819, lvis-annotations.json, a copy of what hub allenai/objaverse has as
        .json.gz: 1,156 categories, some with brackets in their names, 46,207 uids, none in two.""",
    "imagenet": """PRIYE/Resnet50_ImageNet1k at d082ba5, LOC_synset_mapping.txt with colons put between synset and names: 1,000 lines, of
        which two are called crane and two begin with maillot. LOC_val_solution.csv by programs that read it: ImageId, PredictionString
        with a synset and four numbers for each box, and a blank at the end; 50,000 rows.""",
}

FILES: dict[str, Files] = {
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
