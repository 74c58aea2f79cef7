#!/usr/bin/env python3
"""Prints smidgen/delta/merge/testdata/recipes.json: what mergekit 0.1.5 makes of merge recipes.

For each recipe the plan of its MergePlanner on models of which only names and numbers of layers exist: every output
tensor with its inputs in mergekit's order and the parameters as resolved. The recipes have the structures that
mergekit's documentation shows, with other models and numbers.

Run from the root of the tree: .venv/bin/python scripts/golden/merge_recipes.py > smidgen/delta/merge/testdata/recipes.json
"""

import json
import logging
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
logging.disable(logging.WARNING)

import torch
import yaml
from mergekit import merge_methods
from mergekit.architecture.base import ModelArchitecture, ModuleDefinition, WeightInfo
from mergekit.architecture.json_definitions import JsonLayerTemplates, JsonModuleArchDef, JsonModuleArchitecture
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import _model_out_config
from mergekit.merge_methods.base import ParameterScope
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from safetensors.torch import save_file

PARTS = ["self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"]
MORE_PARTS = ["self_attn.k_proj.weight", "mlp.down_proj.weight"]  # of models with two stacks of layers

# name -> layers, whether it stores a head of its own
MODELS = {"north": (8, True), "south": (8, True), "east": (8, False), "west": (8, True), "small": (4, False), "tiny": (4, True)}
PAIR = {"speech": (4, 6), "tone": (4, 6)}  # layers of an encoder and a decoder

RECIPES = {
    "slerp with gradients by part": """
slices:
  - sources:
      - {model: north, layer_range: [0, 8]}
      - {model: south, layer_range: [0, 8]}
merge_method: slerp
base_model: north
parameters:
  t:
    - filter: self_attn
      value: [0, 0.35, 0.2, 0.8, 1]
    - filter: mlp
      value: [1, 0.65, 0.8, 0.2, 0]
    - value: 0.45
dtype: bfloat16
""",
    "layers of two models in a row": """
slices:
  - sources: [{model: north, layer_range: [0, 5]}]
  - sources: [{model: south, layer_range: [3, 8]}]
merge_method: passthrough
dtype: float16
""",
    "repeated layers with scaled outputs": """
slices:
  - sources: [{model: west, layer_range: [0, 4]}]
  - sources:
      - model: west
        layer_range: [2, 6]
        parameters:
          scale:
            - {filter: q_proj, value: 0.8}
            - {filter: up_proj, value: [0, 0.5]}
            - {value: 1}
  - sources: [{model: west, layer_range: [6, 8]}]
merge_method: passthrough
""",
    "ties with a density of each model": """
models:
  - model: north
  - model: south
    parameters: {density: 0.4, weight: 0.6}
  - model: east
    parameters:
      density: [1, 0.7, 0.1]
      weight:
        - {filter: mlp, value: 0.5}
        - {value: 0}
merge_method: ties
base_model: north
parameters: {normalize: true, int8_mask: true}
dtype: float16
""",
    "ties whose base no entry names": """
models:
  - {model: south, parameters: {weight: 0.7}}
  - {model: west, parameters: {weight: 0.3}}
merge_method: ties
base_model: east
parameters: {density: 0.25}
""",
    "linear over slices": """
slices:
  - sources:
      - {model: north, layer_range: [0, 4], parameters: {weight: 0.25}}
      - {model: south, layer_range: [4, 8], parameters: {weight: 0.75}}
  - sources:
      - {model: south, layer_range: [0, 4]}
      - {model: west, layer_range: [1, 5]}
    parameters: {weight: [0.2, 0.9]}
merge_method: linear
parameters: {normalize: no}
""",
    "gradients over short slices": """
slices:
  - sources:
      - {model: north, layer_range: [0, 3], parameters: {weight: [0, 1]}}
      - {model: south, layer_range: [0, 3], parameters: {weight: [1, 0.5, 0]}}
  - sources:
      - {model: north, layer_range: [3, 4], parameters: {weight: [0.3, 0.4]}}
      - {model: south, layer_range: [5, 6], parameters: {weight: 1e-1}}
  - sources:
      - {model: north, layer_range: [4, 8], parameters: {weight: [0.1, 0.2, 0.4, 0.8, 1.6]}}
      - {model: south, layer_range: [4, 8], parameters: {weight: "2.5e-1"}}
merge_method: linear
""",
    "scopes and filters that fall through": """
models:
  - model: south
    parameters:
      weight: [{filter: q_proj, value: 0.9}]
      density: {filter: "*", value: 0.55}
  - model: west
    parameters:
      weight: {filter: layers.1., value: [0.1, 0.2]}
merge_method: dare_ties
base_model: north
parameters:
  weight:
    - {filter: up_proj, value: [0.3, 0.6, 0.1]}
    - {filter: input_layernorm, value: 0.2}
    - {value: 0.05}
  density: [0.2, 0.8]
  rescale: [yes, no, yes]
""",
    "filters see the input's name": """
slices:
  - sources:
      - {model: north, layer_range: [2, 4], parameters: {weight: [{filter: layers.2., value: 0.6}, {value: 0.1}]}}
      - {model: south, layer_range: [5, 7], parameters: {weight: [{filter: layers.0., value: 0.7}, {filter: layers.5., value: 0.2}, {value: 0.3}]}}
merge_method: linear
parameters:
  normalize: [{filter: layers.0., value: false}, {value: true}]
""",
    "a base of one slice": """
slices:
  - sources: [{model: north, layer_range: [0, 4]}, {model: south, layer_range: [0, 4]}]
    parameters: {t: 0.3}
  - sources: [{model: south, layer_range: [4, 8]}, {model: west, layer_range: [4, 8]}]
    base_model: west
    parameters: {t: [0, 1]}
merge_method: slerp
base_model: north
parameters: {t: 0.5}
""",
    "linear counts the base as an input": """
models:
  - {model: south, parameters: {weight: 0.7}}
  - {model: west, parameters: {weight: 0.2}}
merge_method: linear
base_model: north
parameters: {weight: 0.1}
""",
    "heads that some store": """
models:
  - {model: east, parameters: {weight: [{filter: lm_head, value: 3}, {value: 2}]}}
  - {model: south, parameters: {weight: 1}}
merge_method: linear
""",
    "no head at all": """
models:
  - {model: small, parameters: {weight: [1, 0]}}
merge_method: linear
""",
    "breadcrumbs with integers and words": """
models:
  - {model: small, parameters: {weight: 1, density: "0.9", gamma: 1.0e-2}}
  - {model: tiny, parameters: {weight: "-5e-1", density: [1, 0.5], gamma: 0}}
merge_method: breadcrumbs
base_model: tiny
parameters: {lambda: [0.5, 1.5], normalize: "on"}
""",
    "della within one slice": """
slices:
  - sources:
      - {model: small, layer_range: [1, 3], parameters: {density: 0.5, weight: 0.5}}
      - {model: tiny, layer_range: [2, 4]}
    parameters: {epsilon: [0.1, 0.2], rescale: false}
merge_method: della
base_model: tiny
parameters: {weight: 9, density: 0.9}
""",
    "karcher iterates by depth": """
models: [{model: small}, {model: tiny}]
merge_method: karcher
parameters: {max_iter: [10, 13], tol: 1e-6}
""",
    "an encoder and a decoder": """
modules:
  encoder:
    slices:
      - sources: [{model: speech, layer_range: [0, 2]}, {model: tone, layer_range: [1, 3]}]
      - sources: [{model: speech, layer_range: [1, 4]}, {model: tone, layer_range: [1, 4]}]
        parameters: {weight: [0.5, 0.1]}
    parameters: {weight: 0.3}
  decoder:
    models:
      - {model: speech, parameters: {weight: [1, 0]}}
      - {model: tone}
    parameters: {weight: {filter: embed, value: 0.8}, normalize: false}
merge_method: linear
parameters: {weight: 0.25}
""",
    "modules that are alike": """
models:
  - {model: speech, parameters: {weight: [0, 1]}}
  - {model: tone, parameters: {weight: [{filter: decoder, value: [1, 0, 1]}, {value: 2}]}}
merge_method: linear
""",
}


def module(pre, prefix, post, count_key, parts):
    return JsonModuleArchitecture(
        definition=JsonModuleArchDef(
            model_type="tiny",
            architectures=[],
            pre_weights=[WeightInfo(name=name) for name in pre],
            layer_templates=JsonLayerTemplates(weights=[WeightInfo(name=f"{prefix}.${{layer_index}}.{part}") for part in parts]),
            post_weights=post,
            num_layers_config_key=count_key,
        )
    )


def architecture(modules):
    definitions = {name: ModuleDefinition(architecture=value) for name, value in modules.items()}
    return ModelArchitecture(modules=definitions, architectures=[], model_type="tiny")


HEAD = WeightInfo(name="lm_head.weight", optional=True, tied_names=("model.embed_tokens.weight",))
DECODER = architecture(
    {"default": module(["model.embed_tokens.weight"], "model.layers", [WeightInfo(name="model.norm.weight"), HEAD], "num_hidden_layers", PARTS)}
)
BOTH = architecture(
    {
        "encoder": module(
            ["model.encoder.embed_positions.weight"],
            "model.encoder.layers",
            [WeightInfo(name="model.encoder.layer_norm.weight")],
            "encoder_layers",
            PARTS + MORE_PARTS,
        ),
        "decoder": module(
            ["model.decoder.embed_tokens.weight"],
            "model.decoder.layers",
            [WeightInfo(name="model.decoder.layer_norm.weight")],
            "decoder_layers",
            PARTS + MORE_PARTS,
        ),
    }
)


def names_of(model):
    parts = PARTS + MORE_PARTS * (model in PAIR)
    if model in PAIR:
        encoder, decoder = PAIR[model]
        loose = ["model.encoder.embed_positions.weight", "model.decoder.embed_tokens.weight"]
        loose += ["model.encoder.layer_norm.weight", "model.decoder.layer_norm.weight"]
        stacks = [("model.encoder.layers", encoder), ("model.decoder.layers", decoder)]
    else:
        layers, head = MODELS[model]
        loose = ["model.embed_tokens.weight", "model.norm.weight"] + ["lm_head.weight"] * head
        stacks = [("model.layers", layers)]
    return loose + [f"{prefix}.{i}.{part}" for prefix, layers in stacks for i in range(layers) for part in parts]


def write_model(name):
    os.mkdir(name)
    save_file({tensor: torch.zeros(2, 2) for tensor in names_of(name)}, f"{name}/model.safetensors")
    config = {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}
    if name in PAIR:
        config |= dict(zip(("encoder_layers", "decoder_layers"), PAIR[name]))
    else:
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": MODELS[name][0]}
    Path(name, "config.json").write_text(json.dumps(config))


def number(value):
    """Of passthrough's scale mergekit's default is none, which leaves a tensor as it is."""
    return 1.0 if value is None else float(value)


def stored_name(model, weight):
    """The tensor that is read: of a head that is not stored, the embedding."""
    return next((n for n in (weight.name, *(weight.tied_names or ())) if n in names_of(model)), None)


def planned(text):
    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    arch = BOTH if any(str(m) in PAIR for m in config.referenced_models()) else DECODER
    options = MergeOptions()
    LoaderCache().setup(options)
    counted = _model_out_config(config, arch)
    planner = MergePlanner(config, arch, options, out_model_config=counted)
    planner._plan()
    method = merge_methods.get(config.merge_method)
    rows = []
    for weight, task in planner._tensors:
        base = task.base_model if method.spec.contract.base.value != "ignored" else None
        infos = dict(task.gather_tensors.weight_info.items())
        inputs = []
        for model in task.model_order:
            values = {k: number(v) for k, v in sorted(task.input_parameters[model].items())}
            if model == base:
                values = None
            inputs.append([str(model), stored_name(str(model), infos[model]), values])
        rows.append([weight.name, {k: number(v) for k, v in sorted(task.parameters.items())}, inputs])
    counts = {}
    for name in arch.modules:
        layers = {w.name.split(".layers.")[1].split(".")[0] for w, _ in planner._tensors if f"{name if arch is BOTH else 'model'}.layers." in w.name}
        counts[name] = len(layers)
    return {"recipe": text, "layers": counts, "tensors": rows}


def fields():
    """Of each method that the recipes use: what smidgen must know to read their parameters."""
    table = {}
    kinds = {bool: "flag", int: "integer", float: "number"}
    for name in sorted({yaml.safe_load(text)["merge_method"] for text in RECIPES.values()}):
        spec = merge_methods.get(name).spec
        scopes = {ParameterScope.SHARED: "shared", ParameterScope.INPUT: "input", ParameterScope.NON_BASE: "other"}
        rows = []
        for p in spec.parameters:
            kind = kinds.get(p.value_type, "number")
            standard = None if p.required else number(p.default)
            rows.append([p.name, kind, scopes[p.scope], standard])
        table[name] = {"base": spec.contract.base.value, "fields": rows}
    return table


def main():
    kept = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in [*MODELS, *PAIR]:
            write_model(name)
        cases = {name: planned(text) for name, text in RECIPES.items()}
    os.chdir(kept)
    made = {"models": {name: names_of(name) for name in [*MODELS, *PAIR]}, "methods": fields(), "recipes": cases}
    lines = ['{"models": ' + json.dumps(made["models"]) + ",", ' "methods": ' + json.dumps(made["methods"]) + ",", ' "recipes": {']
    for name, case in cases.items():
        rows = ",\n    ".join(json.dumps(row) for row in case["tensors"])
        head = f'  {json.dumps(name)}: {{"recipe": {json.dumps(case["recipe"])}, "layers": {json.dumps(case["layers"])}, "tensors": [\n    {rows}]}}'
        lines.append(head + ("," if name != list(cases)[-1] else ""))
    print("\n".join([*lines, " }}"]))


if __name__ == "__main__":
    main()
