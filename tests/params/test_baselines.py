"""Baselines that cannot be computed are told with the parameters, and not by the last stage."""

import copy
from typing import Any

import pytest
import yaml

from pipeline.errors import UserError
from pipeline.params.load import check_params
from stages.tools.init import PRESETS

TABLE = yaml.safe_load((PRESETS / "tables" / "cmcr-audio-image.yaml").read_text())


def checked(baselines: str, **changed: Any) -> None:
    raw = copy.deepcopy(TABLE)
    raw["evaluate"]["tasks"]["vggss-retrieval"] |= {"baselines": baselines, **changed}
    check_params(raw, "params.yaml")


def test_a_connection_with_data_of_both_modalities_gives_baselines():
    checked("cmcr_trained")
    checked("cmcr_trained", modalities=["image", "audio"])


@pytest.mark.parametrize(
    ("baselines", "changed", "said"),
    [
        ("cmcr_published", {}, "the connection reads no data of audio and image"),
        ("cmcr_trained", {"modalities": ["audio", "text"]}, "memories hold audio and image, and the task compares audio and text"),
    ],
)  # fmt: skip
def test_others_are_refused_and_the_task_is_named(baselines, changed, said):
    with pytest.raises(UserError) as error:
        checked(baselines, **changed)
    assert f"evaluate.tasks.vggss-retrieval.baselines = '{baselines}'" in error.value.message
    assert said in error.value.message
