"""Small models with tokenizers of their own, their vocabularies merged by mergekit and by smidgen."""

import json
import os
import subprocess
from pathlib import Path

import torch
from safetensors.torch import save_file

from support.paths import BUILD

PROGRAM = Path(os.environ.get("SMIDGEN_BUILD", BUILD / "release")) / "merge_vocabulary"
WIDTH = 6
TEXTS = {
    "animals": ["the cat sat on the mat", "a dog and a cat ran home", "the cat the cat the dog"],
    "places": ["the sea and the hill", "a house on the hill by the sea", "home is a house by the sea"],
    "numbers": ["one two three four five", "two and two is four", "three and one is four"],
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def train(words, size, special, added=(), kind="bpe"):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if kind == "bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
    else:
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=[*special, "<unk>"], unk_token="<unk>", show_progress=False)
    made.train_from_iterator(words, trainer)
    made.add_tokens(list(added))
    return made


def write(folder: Path, tokenizer, *, seed, head=False, rows=None, template=None, tokenizer_class="PreTrainedTokenizerFast", eos=None) -> Path:
    """A folder that both sides read: configuration, tokenizer, vocabulary tensors and nothing else."""
    folder.mkdir(parents=True)
    rows = rows or tokenizer.get_vocab_size()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": rows, "hidden_size": WIDTH,
              "num_hidden_layers": 1, "num_attention_heads": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"tokenizer_class": tokenizer_class, "eos_token": eos}
    if tokenizer:
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v}))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    generator = torch.Generator().manual_seed(seed)
    tensors = {EMBEDDING: torch.randn(rows, WIDTH, generator=generator)}
    if head:
        tensors[HEAD] = torch.randn(rows, WIDTH, generator=generator)
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_whole(folder: Path, tokenizer, *, seed, head=False, layers=2, eos="<|end|>", template=None) -> Path:
    """A Llama model with that tokenizer, which transformers opens; widths are the same for all."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = tokenizer.get_vocab_size()
    torch.manual_seed(seed)
    config = LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, vocab_size=rows,
                         max_position_embeddings=96, tie_word_embeddings=not head, initializer_range=0.3, eos_token_id=tokenizer.token_to_id(eos),
                         bos_token_id=None, pad_token_id=None, dtype="float32")  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos}))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def merged_by_mergekit(text: str, out: Path, **options) -> Path:
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), MergeOptions(write_model_card=False, quiet=True, num_threads=None, **options))
    return out


def ids_of(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()


def ours(models, setting, base=None, out=None, template=None) -> dict:
    request = {"models": [str(m) for m in models], "setting": setting, "base": base}
    request |= {"out": str(out)} if out else {}
    request |= {"template": template} if template else {}
    done = subprocess.run([PROGRAM], input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def transplanted(model, donor, **options) -> dict:
    done = subprocess.run(
        [PROGRAM], input=json.dumps({"models": [str(model)], "donor": str(donor), **options}) + "\n", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def theirs(models, setting, base=None):
    """(TokenizerInfo, {tensor: {model: rows}}) of mergekit."""
    from mergekit.common import ImmutableMap, ModelPath, ModelReference
    from mergekit.tokenizer.build import build_tokenizer
    from mergekit.tokenizer.config import TokenizerConfig
    from mergekit.tokenizer.embed import PermutedVocabulary
    from safetensors.torch import load_file

    refs = [ModelReference(model=ModelPath(path=str(m))) for m in models]
    config = TokenizerConfig.model_validate(setting)
    base_ref = None if base is None else refs[base]
    info = build_tokenizer(base_ref, refs, config.source, False, list(config.tokens or {}))
    files = [load_file(m / "model.safetensors") for m in models]
    rows = {}
    for name in (EMBEDDING, HEAD):
        if not any(name in f for f in files):
            continue
        task = PermutedVocabulary.model_construct(
            tokens=ImmutableMap(data=config.tokens or {}),
            pad_to_multiple_of=config.pad_to_multiple_of,
            base_model=base_ref,
            vocabulary_axis=0,
        )
        tied = {ref: f.get(name, f[EMBEDDING]) for ref, f in zip(refs, files)}
        rows[name] = list(task.execute(info, tied).values())
    return info, refs, rows
