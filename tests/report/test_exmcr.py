"""The report of a base with two leaves: every set is accounted for, and what is said of it is true."""

from pathlib import Path

import pytest

from pipeline.report.inputs import Inputs
from pipeline.report.sentences.story import story
from pipeline.report.settings import ReportSettings
from pipeline.report.write import write_report
from pipeline.train.run import train_connection
from tests.report.test_page import Page
from tests.report.world import write_table
from tests.train.test_leaves import OVERLAP, OWN, SETTINGS, leaf_link, write_sets

LINKS = {"unified": (leaf_link("clap"), leaf_link("ulip"))}
TASKS = {name: dict.fromkeys(name.split("_"), "heldout") for name in ("audio_point", "image_text")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("unified")
    for leaf in ("clap", "ulip"):
        write_sets(data / "pairs" / "unified", leaf)
        asks = {
            "overlap": f"clip_{OVERLAP[leaf]}",
            "leaf": f"{leaf}_{OWN[leaf][leaf]}",
            "base": f"clip_{OWN[leaf]['clip']}",
        }
        for centre in ("overlap", "leaf", "base"):
            chain = {"overlap": (leaf, OWN[leaf][leaf]), "leaf": (leaf, {"clap": "text", "ulip": "image"}[leaf])}
            space, modality = chain.get(centre, ("clip", {"clap": "text", "ulip": "image"}[leaf]))
            rows = [
                {
                    "query": asks[centre],
                    "query_key": f"q-{leaf}-{centre}-{number}",
                    "memory": f"{space}_{modality}",
                    "rank": 1,
                }
                | {"neighbour_key": f"n-{leaf}-{centre}", "score": 0.5, "weight": 0.25}
                for number in range(2)
            ]
            write_table(data / "pairs" / "unified" / leaf / centre / "_examples.parquet", rows)
    train_connection(
        [(link, SETTINGS) for link in LINKS["unified"]], "exmcr", data / "pairs", data / "models" / "unified"
    )
    metrics = [
        {"connection": connection, "method": method, "task": task, "dataset": "heldout", "direction": direction}
        | {"metric": "R@10", "value": value, "ci_low": value - 0.01, "ci_high": value + 0.01, "n": 50, "chance": 0.2}
        for task, rows in {
            "audio_point": [("unified", "exmcr", 0.6)],
            "image_text": [("unified", "exmcr", 0.7), ("clip", "frozen", 0.7)],
        }.items()
        for direction in ("mean", "->".join(TASKS[task]))
        for connection, method, value in rows
    ]
    write_table(data / "metrics" / "metrics.parquet", metrics)
    return data


def test_the_page_says_what_was_joined_and_accounts_for_every_set(data: Path) -> None:
    written = write_report(data, LINKS, TASKS, ReportSettings(pseudo_pairs=6), data / "reports")
    page = Page(written.page.read_text())
    assert not page.unbalanced
    assert set(written.missing) == {f"metrics/{name}.parquet" for name in ("examples", "similarities", "ranks")}
    accounts = next(table for table in page.tables if table[0][:2] == ["stage", "of"])
    sets = {f"unified/{leaf}/{centre}" for leaf in ("clap", "ulip") for centre in ("overlap", "leaf", "base")}
    assert {row[1] for row in accounts if row[0] == "retrieve"} == sets
    for said in (
        "Ex-MCR projected the frozen spaces clap (text, audio) over text and ulip (image, point) over image into clip"
        " (text, image), which stays exactly as it is; no leaf knows of another.",
        "For clap it made 192 pseudo-pairs from unpaired data: 64 from captions, 64 from sounds, 64 from pictures.",
        "For ulip it made 192 pseudo-pairs from unpaired data: 64 from pictures, 64 from point clouds, 64 from captions.",
        "kept exactly, to the last bit",
        "Emergent: no data ever linked audio and point; they meet in clip, which embeds neither.",
        "unified/clap: loss",
        "unified/ulip: loss",
    ):
        assert said in " ".join(page.text.split()), said
    assert page.text.count("Emergent") == 1
    for leaf in ("clap", "ulip"):
        assert f"unified/{leaf} (exmcr)" in page.text
        for centre in ("overlap", "leaf", "base"):
            assert f"q-{leaf}-{centre}-0" in written.page.read_text()
            assert f"q-{leaf}-{centre}-1" not in written.page.read_text()
    assert "Ex-MCR" in written.card.read_text()
    before = written.page.read_bytes()
    assert (
        write_report(data, LINKS, TASKS, ReportSettings(pseudo_pairs=6), data / "reports").page.read_bytes() == before
    )


def test_samples_of_every_set_are_looked_up_in_their_own_corpora(data: Path) -> None:
    from pipeline.report.examples import Examples

    needs = Examples(Inputs(data, LINKS, TASKS), ReportSettings(pseudo_pairs=6)).needs()
    found = {need.key: (need.modality, need.corpora) for need in needs}
    assert found["q-clap-overlap-0"] == ("text", ("captions",))
    assert found["q-clap-leaf-0"] == ("audio", ("sounds",))
    assert found["q-clap-base-0"] == ("image", ("photos",))
    assert found["q-ulip-leaf-0"] == ("point", ("shapes",))
    assert found["q-ulip-base-0"] == ("text", ("captions",))
    assert found["n-clap-overlap"] == ("audio", ("sounds",))
    assert found["n-clap-leaf"] == ("text", ("captions",))
    assert found["n-ulip-base"] == ("image", ("photos",))


def test_without_a_model_the_pairs_are_still_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs").symlink_to(data / "pairs")
    said = " ".join(story(Inputs(tmp_path, LINKS, TASKS), []))
    assert "Ex-MCR" in said and "64 from sounds" in said
    assert write_report(tmp_path, LINKS, TASKS, ReportSettings(), tmp_path / "reports").page.is_file()
