"""True pairs that anybody can get: Tux Paint's stamps from Debian's real package, evaluated to the page.

The package (161 MB) is fetched by apt; TUXPAINT names a folder with it unpacked. With neither the test is skipped, and says so.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.makers import tables
from tests.makers.walk import mcr

pytestmark = pytest.mark.slow
PACKAGE = "tuxpaint-stamps-default"


@pytest.fixture(autouse=True)
def parameters_only(monkeypatch) -> None:
    """`mcr init` writes params.yaml, and no DVC project: DVC's log does not outlive the output of one command in a process."""
    monkeypatch.setattr("stages.tools.init.make_project", lambda demo: False)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    if place := os.environ.get("TUXPAINT"):
        return Path(place).resolve()
    folder = tmp_path_factory.mktemp("debian")
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("there is no apt here: set TUXPAINT to a folder with the package unpacked")
    done = subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(
            f"apt cannot get {PACKAGE}: set TUXPAINT to a folder with it unpacked ({done.stderr.strip()[:200]})"
        )
    [archive] = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder / "unpacked")], check=True)
    return folder / "unpacked"


def test_triples_of_the_real_package_are_evaluated(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mcr("init", "tables/cmcr-audio-image", "--without", "ave,vggss,cmcr_trained")
    Path("data/spaces/clip").rmdir()
    Path("data/spaces/clap").rmdir()
    tables.weights(Path("data/spaces"), {"clip", "clap"})
    tables.projectors(Path("data/published"))
    mcr("prepare", "flickr-soundnet", str(tables.put_set(Path("data/downloads"), "flickr-soundnet")))
    for name in ("tuxpaint", "tuxpaint-speech"):
        said = mcr("prepare", name, str(package), "--add")
        assert f"corpora.{name}-image" in said and f"evaluate.tasks.{name}-image-audio" in said
    params = yaml.safe_load(Path("params.yaml").read_text())
    tables.small(params)
    params["limits"]["max_rejected"] = 0.0  # every picture, sound and description of the package can be used
    Path("params.yaml").write_text(yaml.safe_dump(params))
    mcr("check")
    mcr("shard", *params["corpora"])
    for space in params["spaces"]:
        mcr("encode", "--space", space)
    mcr("train", "cmcr_published")
    mcr("evaluate")
    mcr("report")
    metrics = pd.read_parquet("data/metrics/metrics.parquet")
    chosen = metrics[metrics.metric.eq("R@1") & metrics.direction.eq("mean") & metrics.connection.eq("cmcr_published")]
    counts = dict(zip(chosen.task, chosen.n, strict=True))
    # Version 2022.06.04, letters and digits left out.
    assert counts["tuxpaint-image-audio"] == counts["tuxpaint-audio-text"] == 107
    assert counts["tuxpaint-speech-image-audio"] == 589
    page = Path("data/reports/index.html").read_text()
    assert "tuxpaint-image-audio" in page and "tuxpaint-speech-image-text" in page
