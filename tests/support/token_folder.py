"""A model folder that holds hardly more than a tokenizer, and smidgen's ids and texts of many lines at once."""

import json
import struct
from pathlib import Path

from support import smidgen


def write(tokenizer, folder, **companions) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = tokenizer if isinstance(tokenizer, str) else tokenizer.to_str()
    (folder / "tokenizer.json").write_text(text)
    weights(folder)
    for name, content in companions.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def weights(folder: Path, model_type: str = "llama") -> None:
    """What makes a folder a model's: a configuration and one number."""
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  '
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def rows(text: str) -> list:
    return [json.loads(row) for row in text.split("\n") if row]


def encode(model: Path, lines: list[bytes], **flags) -> list[list[int]]:
    path = Path(model).parent / "lines.txt"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    out = rows(smidgen.ok("tokenize", model=model, file=path, lines=True, timeout=300, **flags).stdout)
    assert len(out) == len(lines)
    return out


def decode(model: Path, ids: list[list[int]], **flags) -> list[str]:
    path = Path(model).parent / "ids.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ids))
    return rows(smidgen.ok("tokenize", model=model, decode_file=path, timeout=300, **flags).stdout)
