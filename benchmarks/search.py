"""Ask the demo's connected space ten questions, and look whether an answer is among the first five pictures.

The picture must show everything that the question says: the truth about each scene is in data/annotations/scenes.parquet.

    python benchmarks/search.py [--json results.json]
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import pandas as pd

QUESTIONS = {
    "two small metal rings rising": {"count": "two", "size": "small", "material": "metal", "shape": "ring", "motion": "rising"},
    "a photo of one large red ball": {"count": "one", "size": "large", "colour": "red", "shape": "ball"},
    "three wooden cubes falling": {"count": "three", "material": "wood", "shape": "cube", "motion": "falling"},
    "a big glass ring over grass": {"size": "large", "material": "glass", "shape": "ring", "background": "grass"},
    "two striped cylinders climbing": {"count": "two", "material": "paper", "shape": "cylinder", "motion": "rising"},
    "a single yellow star over night": {"count": "one", "colour": "yellow", "shape": "star", "background": "night"},
    "three tiny rubber cones": {"count": "three", "size": "small", "material": "rubber", "shape": "cone"},
    "a resting stone cross over sand": {"motion": "still", "material": "stone", "shape": "cross", "background": "sand"},
    "two large blue diamonds dropping": {"count": "two", "size": "large", "colour": "blue", "shape": "diamond", "motion": "falling"},
    "one shiny green cylinder rising": {"count": "one", "material": "metal", "colour": "green", "shape": "cylinder", "motion": "rising"},
}  # fmt: skip


def main() -> None:
    """Print one line per question and how many were answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    arguments = parser.parse_args()
    scenes = pd.read_parquet("data/annotations/scenes.parquet").set_index("key")
    answered = {}
    for question, wanted in QUESTIONS.items():
        done = subprocess.run(
            ["mcr", "search", question, "--in", "image", "-k", "5"], capture_output=True, text=True, check=True
        )
        keys = re.findall(r"photos/([\w-]+)", done.stdout)
        ranks = [
            rank
            for rank, key in enumerate(keys, 1)
            if all(scenes.loc[key, name] == level for name, level in wanted.items())
        ]
        answered[question] = ranks
        print(f"{'yes' if ranks else 'no ':3}  {question}  (matching: {', '.join(map(str, ranks)) or 'none'} of 5)")
    print(
        f"{sum(map(bool, answered.values()))} of {len(answered)} questions have a matching picture among the first five."
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(answered, indent=1) + "\n")


if __name__ == "__main__":
    main()
