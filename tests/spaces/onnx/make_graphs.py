"""A folder with three small graphs of random weights, one of which keeps its numbers in a file beside it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WIDTH, LENGTH, SIDE, RATE, SECONDS = 12, 8, 16, 8000, 0.5
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
WORDS = ["[PAD]", "[UNK]", "a", "red", "ball", "number", *map(str, range(10))]
DESCRIPTION = {
    "text": {"model": "text.onnx", "input": "ids", "mask": "mask", "length": LENGTH},
    "image": {"model": "image.onnx", "output": "embeds", "size": SIDE, "mean": MEAN, "std": STD},
    "audio": {"model": "audio.onnx", "rate": RATE, "seconds": SECONDS},
}


def weights() -> dict[str, np.ndarray]:
    """The tensors of all graphs, float32."""
    generator = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    return {
        "words": normal(len(WORDS), WIDTH),
        "pixels": normal(3 * SIDE * SIDE, WIDTH),
        "bias": normal(WIDTH),
        "samples": normal(round(RATE * SECONDS), WIDTH),
    }


def save_space(folder: Path) -> Path:
    """Write graphs, tokenizer and description to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: numpy_helper.from_array(values, name) for name, values in weights().items()}
    _save(folder / "text.onnx", _text(tensors["words"]))
    _save(
        folder / "image.onnx",
        _flat("pixel_values", ["B", 3, SIDE, SIDE], tensors["pixels"], tensors["bias"]),
        apart=True,
    )
    _save(
        folder / "audio.onnx",
        _flat("wave", ["B", round(RATE * SECONDS)], tensors["samples"], tensors["bias"], hidden=False),
    )
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "onnx.json").write_text(json.dumps(DESCRIPTION))
    return folder


def _value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _text(words: onnx.TensorProto) -> onnx.GraphProto:
    """The mean of the vectors of the words that the mask lets through."""
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["vectors"]),
        helper.make_node("Cast", ["mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["seen"]),
        helper.make_node("ReduceMean", ["seen", "middle"], ["embeds"], keepdims=0),
    ]
    axes = [numpy_helper.from_array(np.array([axis]), name) for name, axis in (("last", 2), ("middle", 1))]
    inputs = [_value(name, TensorProto.INT64, ["B", "L"]) for name in ("ids", "mask")]
    outputs = [_value("embeds", TensorProto.FLOAT, ["B", WIDTH])]
    return helper.make_graph(nodes, "text", inputs, outputs, [words, *axes])


def _flat(
    name: str, shape: list[str | int], matrix: onnx.TensorProto, bias: onnx.TensorProto, hidden: bool = True
) -> onnx.GraphProto:
    """One matrix on everything; where asked, the graph also gives what comes before the bias."""
    nodes = [
        helper.make_node("Flatten", [name], ["flat"]),
        helper.make_node("MatMul", ["flat", matrix.name], ["hidden"]),
        helper.make_node("Add", ["hidden", bias.name], ["embeds"]),
    ]
    outputs = [_value(one, TensorProto.FLOAT, ["B", WIDTH]) for one in (["embeds", "hidden"] if hidden else ["embeds"])]
    return helper.make_graph(nodes, name, [_value(name, TensorProto.FLOAT, shape)], outputs, [matrix, bias])


def _save(path: Path, graph: onnx.GraphProto, apart: bool = False) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path, save_as_external_data=apart, location=f"{path.name}_data", size_threshold=64)
