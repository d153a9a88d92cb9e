"""What the site has beside the files in docs/: commands, settings and recipes as they are, and the notebook."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from stages.cli import app

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "presets"
NOTEBOOK = "guide/notebook"
MORE = "More"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name every page in the navigation: what it does not list stands under `MORE`."""
    listed = json.dumps(config.nav)
    docs = Path(config.docs_dir)
    found = (path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.md")))
    others = [name for name in found if f'"{name}"' not in listed]
    recipes = [f"recipes/{_slug(path)}.md" for path in _recipes()]
    config.nav = [
        *(config.nav or []),
        {"Recipes": ["recipes/index.md", *recipes]},
        *([{MORE: others}] if others else []),
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files."""
    made = {
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "commands.md": _commands(),
        "recipes/index.md": _index_of_recipes(),
        **{f"recipes/{_slug(path)}.md": _recipe(path) for path in _recipes()},
    }
    text, pictures = _notebook(Path(config.docs_dir, f"{NOTEBOOK}.ipynb"))
    for name, content in {**made, f"{NOTEBOOK}.md": text, **pictures}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in commands and settings, and lead links to where files stand on the site."""
    up = "../" * page.file.src_uri.count("/")
    if page.file.src_uri in ("contributing.md", "changelog.md"):
        markdown = markdown.replace("](docs/", "](").replace("](README.md", "](index.md")
    markdown = re.sub(r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md", lambda m: f"]({up}{m[1].lower()}.md", markdown)
    markdown = markdown.replace("(notebook.ipynb)", "(notebook.md)")
    commands: Any = typer.main.get_command(app)
    markdown = re.sub(r"<!-- command: (\S+) -->", lambda m: _command(m[1], commands.commands[m[1]]), markdown)
    return re.sub(r"<!-- settings: (\w+) -->", lambda m: _settings(m[1]), markdown)


def _command(name: str, command: Any) -> str:
    usage = " ".join(command.collect_usage_pieces(typer.Context(command, info_name=name)))
    rows = [
        f"| `{', '.join(each.opts)}` | {' '.join((getattr(each, 'help', '') or '').split())} |"
        for each in command.params
        if each.name != "help"
    ]
    table = ["| argument | |", "|---|---|", *rows] if rows else []
    return "\n".join([f"`mcr {name} {usage}`", "", _paragraphs(command.help or ""), "", *table])


def _paragraphs(text: str) -> str:
    """Help as Markdown: an example alone in its paragraph becomes code."""
    parts = [" ".join(part.split()) for part in text.replace("\b", "").split("\n\n")]
    return "\n\n".join(f"    {part}" if part.startswith("mcr ") else part for part in parts)


def _commands() -> str:
    root: Any = typer.main.get_command(app)
    said = [
        "# Commands",
        "",
        "Exit codes: 0 done, 1 internal error or damaged file, 2 user error, 75 try again later, 128 + n stopped by signal n.",
    ]
    for name, command in root.commands.items():
        group = getattr(command, "commands", None)
        for each, inner in ({f"{name} {sub}": one for sub, one in group.items()} if group else {name: command}).items():
            said += ["", f"## mcr {each}", "", _command(each, inner)]
    return "\n".join(said)


def _settings(name: str) -> str:
    known = json.loads((PRESETS / "params.schema.json").read_text())["$defs"][name]
    rows = [
        f"| `{field}` | {_default(value, field in known.get('required', ()))} | {value.get('description', '').replace('|', chr(92) + '|')} |"
        for field, value in known["properties"].items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _default(value: dict[str, Any], required: bool) -> str:
    return "needed" if required else f"`{json.dumps(value.get('default'), ensure_ascii=False)}`"


def _recipes() -> list[Path]:
    return sorted(PRESETS.rglob("*.yaml"))


def _slug(path: Path) -> str:
    return path.relative_to(PRESETS).with_suffix("").as_posix().replace("/", "-")


def _about(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# yaml-language-server")]
    header = [
        line.removeprefix("#").strip()
        for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    ]
    return " ".join(header).split(". ")[0].rstrip(".") + "."


def _recipe(path: Path) -> str:
    name = path.relative_to(PRESETS).with_suffix("").as_posix()
    command = f"mcr sweep presets/{name}.yaml" if name.startswith("sweeps/") else f"mcr init {name}"
    assert yaml.safe_load(path.read_text())
    return f"# {name}\n\n    {command}\n\n```yaml\n{path.read_text()}```\n"


def _index_of_recipes() -> str:
    rows = [
        f"| [{path.relative_to(PRESETS).with_suffix('')}]({_slug(path)}.md) | {_about(path)} |" for path in _recipes()
    ]
    return "\n".join(
        [
            "# Recipes",
            "",
            "`mcr init NAME` makes a recipe the parameters of the project. Every value says how far it can be trusted.",
            "",
            "| recipe | |",
            "|---|---|",
            *rows,
        ]
    )


def _notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures as files beside it."""
    said, pictures = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        said.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{NOTEBOOK}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                said.append(f"![Output]({name.rpartition('/')[2]})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                said.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(said) + "\n", pictures
