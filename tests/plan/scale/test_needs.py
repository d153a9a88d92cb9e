"""The arithmetic of `mcr plan --scale`, against figures worked out by hand, and the results files that it reads."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.errors import UserError
from pipeline.plan.scale.described import described
from pipeline.plan.scale.needs import Machines, forward_rate, needs
from pipeline.plan.scale.rates import Rate, Rates
from stages.cli import app

RESULTS = Path(__file__).parents[3] / "benchmarks/results"
RATES = Rates(
    Rate(700e12), Rate(450), Rate(500e6), Rate(100_000), forward=Rate(45_000), step=Rate(2e-3), aggregation=Rate(0.7)
)


def needed(said: str, machines: Machines = Machines(8, 16)):  # noqa: B008  # frozen
    return {need.stage: need for need in needs(described(said), RATES, machines)}


def test_laion_5b():
    found = needed("5.85e9")
    assert found["shard"].said.startswith("585,000 shards")
    assert found["shard"].bytes == pytest.approx(240e12, rel=0.01), "240 TB at 41 kB"
    assert found["encode"].bytes == pytest.approx(12e12, rel=0.02), "12 TB in float32"
    assert found["encode"].seconds == pytest.approx(5.85e9 / (16 * 450 * 8)), (
        "16 cores at 450/s are slower than the model"
    )
    assert "decoding of 16 cores" in found["encode"].limit
    assert found["encode"].network == pytest.approx(16 * 450 * 41_000)
    # 2.4e19 operations for one memory; there are two.
    assert found["retrieve"].seconds == pytest.approx(2 * 2.4e19 / 0.7 / 700e12 / 8, rel=0.01)
    assert found["train"].seconds == pytest.approx(36 * 489 * 2e-3), "2 M pairs, whatever the corpus"


def test_what_is_fed_by_enough_cores_waits_for_its_model():
    found = needed("5.85e9", Machines(8, 128))["encode"]
    assert found.seconds == pytest.approx(5.85e9 / 45_000 / 8) and "its model" in found.limit
    assert found.network == pytest.approx(45_000 * 41_000), "1.8 GB/s into each device"


def test_everything_but_the_training_is_linear_in_the_corpus():
    few, many = needed("1e8"), needed("1e9")
    for stage in ("shard", "encode", "retrieve"):
        assert many[stage].seconds == pytest.approx(10 * few[stage].seconds), stage
        assert many[stage].bytes == pytest.approx(10 * few[stage].bytes), stage
    assert many["train"] == few["train"]
    assert many["retrieve"].memory == few["retrieve"].memory


def test_a_description_in_a_file(tmp_path):
    path = tmp_path / "sounds.yaml"
    path.write_text(
        yaml.safe_dump({"samples": 1e6, "bytes_per_sample": 4e5, "store_as": "float16", "samples_per_shard": 1000})
    )
    found = needed(str(path))
    assert found["encode"].said == "1,000 parts of float16"
    assert found["encode"].bytes == pytest.approx(1e6 * (512 * 2 + 16), rel=0.01)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("many", "neither a number of samples nor a file"),
        ("nowhere.yaml", "does not exist"),
        ("0", "samples: Input should be greater"),
        ("nan", "samples: Input should be"),
        ("-3e9", "samples: Input should be greater"),
    ],
)
def test_what_is_no_corpus(said, why):
    with pytest.raises(UserError, match=why):
        described(said)


def test_a_description_with_an_unknown_field(tmp_path):
    (tmp_path / "c.yaml").write_text("samples: 5\nbytes: 3\n")
    with pytest.raises(UserError, match=r"bytes: Extra inputs") as error:
        described(str(tmp_path / "c.yaml"))
    assert "bytes_per_sample" in error.value.hint


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("gpu/h100-80gb-hbm3.json", {"products", "aggregation", "step", "forward", "decode"}),
        ("encode.json", {"forward", "decode"}),
        ("train.json", {"products", "step"}),
        ("aggregate.json", {"products", "aggregation"}),
    ],
)
def test_results_files_give_their_rates(name, fields):
    plain = Rates(*(Rate(1.0, "mine") for _ in range(4)))
    found = plain.updated_from(RESULTS / name)
    origin = Path(name).name
    assert {
        field for field in vars(found) if getattr(found, field) and getattr(found, field).origin == origin
    } == fields
    assert found.decode.value < 10_000 and found.aggregation.value < 1.1


def test_the_rates_of_the_card_are_those_of_its_table():
    found = Rates(*(Rate(1.0) for _ in range(4))).updated_from(RESULTS / "gpu/h100-80gb-hbm3.json")
    assert found.products.value == 756.44e12 and found.step and found.step.value == 2e-3
    assert forward_rate(described("1"), found).value == pytest.approx(2069 / 0.12)
    assert found.decode.value == pytest.approx(2606 / 16)  # of all its cores
    reached = found.aggregation.value * found.products.value
    assert reached == pytest.approx(4 * 131_072 * 2_000_000 * 512 / 1.29), "the retrieval of the table takes its 1.29 s"


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"rows": [{"check": 3}]}'])
def test_a_file_without_rates_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UserError, match=r"r.json (is not a results file|has no rate)"):
        RATES.updated_from(tmp_path / "r.json")


def test_the_command_measures_this_machine_and_needs_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plan", "--scale", "5.85e9", "--devices", "8"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["scale:", "rates:", "shard", "encode", "retrieve", "train"]
    assert lines[1].count("measured here") == 5 and re.search(r"585,000 parts of float32: 12\.\d TB", lines[3])
    assert not list(tmp_path.iterdir())
