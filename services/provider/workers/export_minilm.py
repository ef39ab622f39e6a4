"""Builds the embedding model: half of all-MiniLM-L6-v2 (Apache-2.0), from its safetensors to one int8 ONNX file, without torch.

`make models` runs it as `python -m services.provider.workers.export_minilm <folder of the weights> <target folder>`. The graph is
written by hand in ONNX Runtime's own operators (com.microsoft), pools and normalises by itself, and is the same as the original to
1e-6 before it is quantised: tests/integration/test_embedding.py compares what comes out with vectors of the original's layers. Why
half of them: docs/decisions/0016-three-of-six-layers.md.
Wang et al., "MiniLM", 2020; Reimers & Gurevych, "Sentence-BERT", 2019.
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

LAYERS, HEADS, WIDTH = 3, 12, 384
EPSILON = 1e-12
MICROSOFT = "com.microsoft"
# the name that services.provider.workers.embedding looks for: it says the depth, for vectors of different ones cannot be compared
MODEL = f"minilm-l{LAYERS}.onnx"


class Graph:
    """Nodes and constants in the making; each adder gives the name of what it adds."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        """A constant tensor."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, *, transposed: bool = False) -> str:
        """A tensor of the original; weights of linear layers stand there transposed."""
        return self.constant(name, self._weights[name].T if transposed else self._weights[name])

    def node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """An operator with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, name=f"{output}/{operator}", **attributes))
        return output

    def dense(self, inputs: str, layer: str, output: str) -> str:
        """A linear layer; `layer` is the name up to ".dense"."""
        product = self.node("MatMul", [inputs, self.weight(f"{layer}.dense.weight", transposed=True)], f"{output}_product")
        return self.node("Add", [product, self.weight(f"{layer}.dense.bias")], output)

    def norm(self, new: str, before: str, layer: str, output: str) -> str:
        """Adds the residual, then normalises; `layer` is the name up to ".LayerNorm"."""
        total = self.node("Add", [new, before], f"{output}_total")
        parts = [self.weight(f"{layer}.LayerNorm.{part}") for part in ("weight", "bias")]
        return self.node("LayerNormalization", [total, *parts], output, axis=-1, epsilon=EPSILON)


def embeddings(graph: Graph, weights: Mapping[str, Any]) -> str:
    """Words plus positions plus the one token type, normalised."""
    zero = graph.constant("zero", np.array([0], np.int64))
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    words = graph.node("Gather", [graph.weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
    places = graph.node("Slice", [graph.constant("positions", positions), zero, length, zero], "places")
    added = graph.node("Add", [words, places], "added")
    norm = [graph.weight(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
    return graph.node("LayerNormalization", [added, *norm], "embedded", axis=-1, epsilon=EPSILON)


def layer(graph: Graph, weights: Mapping[str, Any], number: int, hidden: str) -> str:
    """One transformer layer: attention, then the feed-forward part, each with its residual."""
    name = f"encoder.layer.{number}"
    heads = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    joined = graph.constant(f"{name}.qkv", np.concatenate([weights[f"{head}.weight"].T for head in heads], 1))
    bias = graph.constant(f"{name}.qkv_bias", np.concatenate([weights[f"{head}.bias"] for head in heads]))
    attended = graph.node("Attention", [hidden, joined, bias, "mask"], f"{name}.attended", MICROSOFT, num_heads=HEADS)
    projected = graph.dense(attended, f"{name}.attention.output", f"{name}.projected")
    middle = graph.norm(projected, hidden, f"{name}.attention.output", f"{name}.middle")
    wide = graph.dense(middle, f"{name}.intermediate", f"{name}.wide")
    active = graph.node("Gelu", [wide], f"{name}.active", MICROSOFT)
    narrow = graph.dense(active, f"{name}.output", f"{name}.narrow")
    return graph.norm(narrow, middle, f"{name}.output", f"{name}.out")


def build(weights: Mapping[str, Any]) -> Any:
    """The model in float32: token ids and attention mask in, one unit vector a text out."""
    graph = Graph(weights)
    graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    hidden = embeddings(graph, weights)
    for number in range(LAYERS):
        hidden = layer(graph, weights, number, hidden)
    graph.node("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    graph.node("Unsqueeze", ["mask_float", graph.constant("two", np.array([2], np.int64))], "mask_column")
    graph.node("Mul", [hidden, "mask_column"], "masked")
    # the mean over tokens and its length 1 are the sum and its length 1
    graph.node("ReduceSum", ["masked", graph.constant("one", np.array([1], np.int64))], "sum", keepdims=0)
    graph.node("LpNormalization", ["sum"], "embedding", axis=-1, p=2)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", WIDTH])]
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    whole = helper.make_graph(graph.nodes, f"all-MiniLM-L6-v2, {LAYERS} layers", inputs, outputs, graph.constants)
    return helper.make_model(whole, opset_imports=versions, ir_version=9)


def main(source: Path, target: Path) -> None:
    """Writes the model and tokenizer.json into the target folder; the model last, so that a broken run leaves none."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    with tempfile.TemporaryDirectory(dir=target) as folder:
        exact, small = Path(folder) / "float.onnx", Path(folder) / MODEL
        onnx.save(build(load_file(source / "model.safetensors")), exact)
        quantize_dynamic(
            exact,
            small,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # without it processors that have no VNNI saturate in the sums of 8-bit products
            reduce_range=True,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
        small.replace(target / MODEL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
