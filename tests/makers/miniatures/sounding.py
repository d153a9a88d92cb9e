"""Sounds with pictures, and where each layout was looked up."""

import json

from tests.makers.miniatures.files import Files, clips, media

LOOKED_UP = {
    "ave": """YapengTian/AVE-ECCV18 at 93f843f, data/Annotations.txt: no header, `&` between five cells, 4,143 rows of 4,097 videos and 28
        classes, one with a comma in its name; 45 videos have several rows, each with another class.""",
    "vggss": """stoneMo/SLAVC at 05b429c, metadata/vggss.json, the same bytes in hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb:
        5,158 clips of 221 classes, 5,941 boxes as corners in shares. 12 boxes have an edge at -2.88e16, 18 hold nothing, and two clips
        have no other box; SLAVC's program clips them, and such a clip counts as one that shows what sounds.""",
    "flickr-soundnet": """stoneMo/SLAVC at 05b429c, metadata/flickr_test.csv: no header, CRLF, a name and a number in each of 250 rows, the
        last without an end of line; 249 rows in hche11/Localizing-Visual-Sounds-the-Hard-Way at 8fe8cbb. The XML by its reader in
        datasets.py: below each child a bbox, whose first element is skipped and whose other four are whole numbers of 256; two
        annotators make a place certain. The 5,000 files themselves are not public without a request.""",
    "music-solo": """DTaoo/Discriminative-Sounding-Objects-Localization at 7f40207, music-exp/solotest.json: 13,472 frames of 27 clips, four in each of
        3,368 seconds; 12,356 with one box, 1,116 with none; the key is spelled `wdith`; normbox is x, y, width, height in shares. By
        music-exp/data/cut_videos.py frames are numbered from 0, and the numbers of all 27 fit 30 or 29.97 frames in a second.""",
    "extended-vggss": """stoneMo/SLAVC at 05b429c, metadata/vggss_test_plus_silent.csv: a header, CRLF, 5,158 rows, all `non-sounding`, the
        last without an end of line. 4,779 pair a clip of VGG-SS with the sound of another; 379 are clips of VGGSound that are not in
        VGG-SS, with their own sound.""",
    "extended-flickr": """As of extended VGG-SS: metadata/flickr_test_plus_silent.csv, 250 rows.""",
}

VGGSS = {
    "vggss.json": json.dumps(
        [
            {"file": "-a1_000010", "class": "dog barking", "bbox": [[0.1, 0.2, 0.5, 0.6], [0.5, -0.1, 1.2, 0.5]]},
            {"file": "b2_000020", "class": "church bell", "bbox": [[0, 0, 1, 1]]},
            {"file": "c3_000030", "class": "church bell", "bbox": [[0.4, 0.66, -2.8823037615171176e16, 0.98]]},
            {"file": "gone_000030", "class": "rain", "bbox": [[0, 0, 1, 1]]},
        ]
    )
} | clips("-a1_000010", "b2_000020", "c3_000030")
XML = "<annotation><person><bbox><name>{}</name><xmin>64</xmin><ymin>0</ymin><xmax>128</xmax><ymax>256</ymax></bbox></person></annotation>"
SOUNDNET = {
    "flickr_test.csv": "111,202\r\n222,0",
    "Annotations/111.xml": XML.format("a").replace("</annotation>", XML.format("b")[12:]),
    "Annotations/222.xml": XML.format("c"),
    "Annotations/333.xml": XML.format("d"),
} | clips("111", "222", "333")
NORMBOX = [{"box": [1, 1, 2, 2], "normbox": [0.25, 0.5, 0.5, 0.75], "category_id": 1}]

FILES: dict[str, Files] = {
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
    "extended-vggss": VGGSS
    | clips("other_000147")
    | {
        "vggss_test_plus_silent.csv": "video,audio,label\r\nother_000147,other_000147,non-sounding\r\n"
        "b2_000020,-a1_000010,non-sounding\r\ngone_000030,b2_000020,non-sounding"
    },
    "extended-flickr": SOUNDNET | {"flickr_test_plus_silent.csv": "video,audio,label\r\n333,222,non-sounding"},
}
