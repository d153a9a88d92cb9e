"""`mcr prepare --add`: a set enters params.yaml, comments stay, and nothing of the user's is replaced."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.params.load import load_params
from pipeline.prepare import SETS
from stages.cli import app
from stages.tools.init import PRESETS
from tests.makers.miniatures import write


def add(name: str) -> str:
    done = CliRunner().invoke(app, ["prepare", name, f"downloads/{name}", "--add"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PRESETS / "exmcr.yaml", "params.yaml")
    return Path("params.yaml")


@pytest.mark.parametrize("name", SETS)
def test_every_set_can_be_added_and_adding_it_again_changes_nothing(project, name):
    write(Path("downloads"), name)
    before, text = load_params(project), project.read_text()
    said = add(name)
    after = load_params(project)
    comments = [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]
    assert all(comment in project.read_text() for comment in comments)
    new = after.model_dump()
    for section in ("corpora", "encode", "connections"):
        old = before.model_dump()[section]
        assert {key: new[section][key] for key in old} == old, "what was there is as it was"
    assert "added to params.yaml: corpora." in said
    once = project.read_bytes()
    assert "nothing new" in add(name)
    assert project.read_bytes() == once


def test_jobs_connections_and_baselines_follow_from_the_links(project):
    write(Path("downloads"), "audiocaps")
    add("audiocaps")
    params = load_params(project)
    jobs = {(job.space, job.corpus) for name, job in params.encode.items() if "audiocaps" in name}
    # CLIP and CLAP read texts in Ex-MCR, ULIP is joined by pictures; only CLAP reads sounds.
    assert {("clap", "audiocaps-audio"), ("clap", "audiocaps-text"), ("clip", "audiocaps-text")} <= jobs
    assert ("clip", "audiocaps-audio") not in jobs and ("ulip", "audiocaps-audio") not in jobs
    [task] = [task for name, task in params.evaluate.tasks.items() if name.startswith("audiocaps")]
    assert task.space == "clap" and set(task.connections) == set(params.connections)


def test_clouds_are_prepared_as_the_protocol_of_their_set_has_it(project):
    """ModelNet40 is thinned and scaled by ULIP's program; OpenShape's clouds are taken as they are, which the space does."""
    for name in ("modelnet40", "objaverse-lvis"):
        write(Path("downloads"), name)
        add(name)
    jobs = load_params(project).encode
    own = {"points": 8192, "sampling": "farthest", "normalisation": "sampled_unit_sphere"}
    assert jobs["ulip-modelnet40-point"].options == own
    assert jobs["ulip-objaverse-lvis-point"].options == {}, "the preset's space has these already"
    assert all(not job.options for name, job in jobs.items() if name != "ulip-modelnet40-point")


def test_a_name_that_means_something_else_is_refused_and_nothing_is_written(project):
    write(Path("downloads"), "esc50")
    raw = yaml.safe_load(project.read_text())
    raw["corpora"]["esc50-prompts"] = {"modalities": ["text"], "source": "mine.jsonl"}
    project.write_text(yaml.safe_dump(raw))
    before = project.read_bytes()
    with pytest.raises(UserError, match=r"corpora.esc50-prompts already"):
        CliRunner().invoke(app, ["prepare", "esc50", "downloads/esc50", "--add"], catch_exceptions=False)
    assert project.read_bytes() == before


def other_layouts(text: str) -> dict[str, bytes]:
    """The same parameters as other people's editors and programs write them."""
    content = yaml.safe_load(text)
    return {
        "lists as deep as their names": yaml.safe_dump(content, sort_keys=False, width=10**6).encode(),
        "four blanks deep": re.sub("^( +)(- )?", lambda found: 2 * found[1] + ("-   " if found[2] else ""), text, flags=re.M).encode(),
        "CRLF": text.replace("\n", "\r\n").encode(),
        "no end of line": text.rstrip("\n").encode(),
        "tabs": re.sub('title: "(.*)"', r"title: '\1\t'", text).replace("# [C]", "# [C]\t").encode(),
        "an anchor": text.replace("clip-texts: {space: clip", "clip-texts: &job {space: clip")
        .replace("clap-texts: {space: clap, corpus: texts}", "clap-texts: {<<: *job, space: clap}")
        .encode(),
        "JSON": json.dumps(content).encode(),
    }  # fmt: skip


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("tables/c*.yaml")), ids=lambda path: path.stem)
def test_no_line_of_the_file_changes(project, preset):
    """Long lines were broken and lists moved: up to 81 lines of a recipe of ours."""
    write(Path("downloads"), "audiocaps")
    for name, content in other_layouts(preset.read_text()).items() | {("ours", preset.read_bytes())}:
        project.write_bytes(content)
        before, old = load_params(project), content.splitlines()
        add("audiocaps")
        text = project.read_bytes()
        after = load_params(project)
        assert {*before.corpora} < {*after.corpora} and {*before.evaluate.tasks} < {*after.evaluate.tasks}, name
        assert after.connections == before.connections and after.fetch == before.fetch, name
        assert after.report == before.report, name
        if name not in ("JSON", "tabs"):  # a tab in a string is written as \\t
            new = iter(text.splitlines())
            assert all(line in new for line in old), f"{name}: the old lines are there, in their order"
        assert text.count(b"\r\n") == (text.count(b"\n") if name == "CRLF" else 0), name


def test_a_linked_file_stays_a_link(project):
    write(Path("downloads"), "audiocaps")
    project.rename("real.yaml")
    project.symlink_to("real.yaml")
    add("audiocaps")
    assert project.is_symlink() and "audiocaps-audio" in Path("real.yaml").read_text()


def test_what_a_recipe_reads_already_is_not_to_be_added(project):
    """The page on the tables ended with YAML to copy, although the recipe has it."""
    shutil.copy(PRESETS / "tables" / "cmcr-localisation.yaml", project)
    write(Path("data/downloads"), "vggss")
    said = CliRunner().invoke(app, ["prepare", "vggss", "data/downloads/vggss"], catch_exceptions=False).output
    assert "params.yaml reads vggss-audio" in said and "corpora:" not in said
    Path("boxes.csv").write_text("image,x0,y0,x1,y1\nb2_000020.jpg,0,0,1,1\n")
    frames = "data/downloads/vggss/frames"
    said = CliRunner().invoke(app, ["crop", "vggss", "boxes.csv", frames], catch_exceptions=False).output
    assert "1 crops" in said and "Add to" not in said
