"""params.yaml, names, rows of tables and captions that are more than words."""

import json
import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.hostile import Attack, command
from tests.faults.hostile.archives import change

Write = Callable[[Path, random.Random], str]


def _laughs(_: Path, draw: random.Random) -> str:
    wide, deep = draw.randrange(5, 12), draw.randrange(6, 12)
    lines = ["a0: &a0 [" + ", ".join(["lol"] * wide) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * wide) + "]" for n in range(1, deep)]
    return "\n".join(lines)


SETTINGS: dict[str, Write] = {
    "laughs": _laughs,
    "python object": lambda project, _: f"seed: !!python/object/apply:os.system ['{command(project)}']",
    "python name": lambda _, draw: f"seed: !!python/name:os.{draw.choice(['system', 'popen', 'abort'])}",
    "itself": lambda _, draw: "seed: &a [" + "[" * draw.randrange(9) + "*a" + "]" * 0 + "]",
    "depth": lambda _, draw: "seed: " + "[" * draw.randrange(500, 90_000),
    "mappings": lambda _, draw: "".join(f"{' ' * number}k{number}:\n" for number in range(draw.randrange(99, 700))),
    "long number": lambda _, draw: "seed: " + "9" * draw.randrange(5_000, 90_000),
    "long key": lambda _, draw: "? " + "k" * draw.randrange(2_000, 90_000) + "\n: 1",
    "octal": lambda _, draw: f"seed: 0{draw.randrange(10, 77)}",
    "sexagesimal": lambda _, draw: f"seed: {draw.randrange(1, 60)}:{draw.randrange(10, 60)}",
    "merge": lambda _, draw: "a: &a {b: 1}\nseed:\n" + "  <<: *a\n" * draw.randrange(2, 300),
    "control character": lambda _, draw: f'seed: "\\x{draw.choice(["1b", "07", "08", "9b"])}[2J"',
    "infinity": lambda _, draw: f"seed: {draw.choice(['.inf', '-.inf', '.nan', '1e999'])}",
    "large": lambda _, draw: "# " + "x" * draw.randrange(500_000, 5_000_000),
    "other encoding": lambda _, draw: draw.choice(["\x85", "\u2028", "\ufeff"]) * 3 + "seed: [",
}


def _settings(make: Write, project: Path, draw: random.Random) -> None:
    (project / "params.yaml").write_text(make(project, draw) + "\n", encoding="utf-8")


NAMES: dict[str, Write] = {
    "command": lambda project, _: f"x; {command(project)} #",
    "substitution": lambda project, draw: draw.choice(["$({})", "`{}`", "x && {}", "x | {}", "x\n{}"]).format(command(project)),
    "up": lambda _, draw: "../" * draw.randrange(1, 4) + "outside",
    "absolute": lambda project, _: str(project.with_name("outside")),
    "option": lambda _, draw: draw.choice(["--help", "-rf", "--params=/etc/passwd", "--break-lock"]),
    "dots": lambda _, draw: draw.choice([".", "..", "...", ".git", "~", "~root"]),
    "separators": lambda _, draw: draw.choice(["a/b", "a\\b", "a:b", "a\0b", "raw/../raw"]),
    "long": lambda _, draw: "a" * draw.randrange(65, 5_000),
    "device": lambda _, draw: draw.choice(["con", "NUL", "com1", "null", "true", "1e3", "0x1"]),
    "bidirectional": lambda _, draw: "a" + chr(draw.choice([0x202E, 0x2066, 0x200B, 0x0430])) + "b",
    "pattern": lambda _, draw: draw.choice(["*", "a*", "[a-z]", "{a,b}", "${seed}", "%s", "{0}"]),
}  # fmt: skip


def _named(section: str, make: Write, project: Path, draw: random.Random) -> None:
    import yaml

    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text())
    entries = content["evaluate"]["tasks"] if section == "tasks" else content[section]
    first = next(iter(entries))
    entries[make(project, draw)] = entries.pop(first)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _outside(project: Path) -> str:
    return str(project.with_name("outside") / "precious.png")


ROWS: dict[str, Write] = {
    "absolute": lambda project, _: _outside(project),
    "up": lambda _, draw: "../" * draw.randrange(1, 9) + "outside/precious.png",
    "up and down": lambda _, draw: f"photos/../../{'../' * draw.randrange(3)}outside/precious.png",
    "address": lambda project, draw: draw.choice(["file://{}", "http://127.0.0.1:9{}", "s3:/{}"]).format(_outside(project)),
    "device": lambda _, draw: draw.choice(["/dev/zero", "/dev/stdin", "/proc/self/environ", "/dev/tty"]),
    "pipe": lambda project, _: f"| {command(project)}",
    "command": lambda project, draw: draw.choice(["$({})", "`{}`", "; {} #", "=cmd|'/c {}'!A0"]).format(command(project)),
    "named pipe": lambda _, draw: f"pipe{draw.randrange(9)}.png",
    "nothing": lambda _, draw: draw.choice(["", " ", "\0", "photos", "."]),
    "long": lambda _, draw: "a/" * draw.randrange(200, 9_000) + "b.png",
    "surrogate": lambda _, draw: f"a{chr(draw.choice([0x202E, 0x85, 0x2028]))}.png",
}  # fmt: skip


def _row(kind: str, make: Write, project: Path, draw: random.Random) -> None:
    path = make(project, draw)
    if path.startswith("pipe"):
        os.mkfifo(project / "raw" / path)
    rows = [{"key": f"k{number}", "path": f"photos/photos-{number:03d}.png"} for number in range(5)]
    rows.insert(draw.randrange(5), {"key": "hostile", "path": path})
    table = project / f"raw/rows.{kind}"
    if kind == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        lines = ['"{}","{}"\n'.format(row["key"], row["path"].replace('"', '""')) for row in rows]
        table.write_text("key,path\n" + "".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), table)
    change(project, "corpora", "photos", "source", value=str(table.relative_to(project)))


CAPTIONS: dict[str, Write] = {
    "long": lambda _, draw: "a photo " * draw.randrange(10_000, 1_000_000),
    "one word": lambda _, draw: "a" * draw.randrange(70_000, 5_000_000),
    "terminal": lambda _, draw: draw.choice(["\x1b]0;x\x07", "\x1b[2J", "\x9b31m", "\r\x1b[A"]) + "a photo",
    "page": lambda project, draw: draw.choice(["<script>{}</script>", "<img src=x onerror={}>", "](javascript:{})", "{{{{{}}}}}"]).format(command(project)),
    "marks": lambda _, draw: "".join(chr(draw.choice([0x202E, 0x2066, 0x200F, 0xFEFF, 0xFFFE])) for _ in range(200)),
    "accents": lambda _, draw: "a" + "\u0301" * draw.randrange(9_000, 60_000),
    "nothing": lambda _, draw: draw.choice(["", " ", "\u200b", "\u00a0", "\0"]),
    "other letters": lambda _, draw: "".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(20_000)),
}  # fmt: skip


def _caption(make: Write, project: Path, draw: random.Random) -> None:
    lines = [json.dumps({"key": "hostile", "text": make(project, draw)})]
    lines += [json.dumps({"key": f"k{number}", "text": f"a small ball {number}"}) for number in range(5)]
    (project / "raw/captions.jsonl").write_text("\n".join(lines) + "\n")


def _bytes(project: Path, draw: random.Random) -> None:
    """Lines that are no text, or no JSON that anybody should follow."""
    good = b'{"key": "k", "text": "a photo"}\n'
    bad = [
        b'{"key": "h", "text": "\xff\xfe"}\n',
        b"[" * draw.randrange(900, 90_000) + b"\n",
        b'{"key": "h", "text": 1e999}\n',
    ]
    bad += [b'{"text": "a", "text": "b", "key": "h"}\n', b'{"key": "h", "text": "\\ud800"}\n', b"\0" * 5000 + b"\n"]
    (project / "raw/captions.jsonl").write_bytes(good + draw.choice(bad))


def attacks() -> Iterator[Attack]:
    """Each where it would act."""
    for name, make in SETTINGS.items():
        yield Attack(f"params.yaml: {name}", "shard", partial(_settings, make), (("check",), ("shard", "captions")))
    for section in ("corpora", "spaces", "connections", "tasks"):
        for name, make in NAMES.items():
            yield Attack(
                f"name in {section}: {name}", "shard", partial(_named, section, make), (("check",), ("shard",))
            )
    for kind in ("jsonl", "csv", "parquet"):
        for name, make in ROWS.items():
            yield Attack(f"row in {kind}: {name}", "shard", partial(_row, kind, make), (("shard", "photos"),))
    for name, make in CAPTIONS.items():
        commands = (("shard", "captions"), ("encode", "--space", "clip"))
        yield Attack(f"caption: {name}", "encode-clip", partial(_caption, make), commands)
    yield Attack("caption: no text", "shard", _bytes, (("shard", "captions"),))
