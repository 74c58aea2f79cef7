"""Data sets and recipes, each with one fault."""

import json
from pathlib import Path

import tiny
from support.broken.things import thing


@thing
def data(to):
    to.mkdir()
    return tiny.write_jsonl(to / "data.jsonl", tiny.samples(8))


@thing
def folder(to):
    to.mkdir()
    return to


@thing
def empty_file(to):
    to.write_bytes(b"")
    return to


def lines(to: Path, *rows: str) -> Path:
    path = to.with_suffix(".jsonl")
    path.write_bytes("".join(r + "\n" for r in rows).encode("utf-8", "surrogateescape"))
    return path


GOOD = json.dumps(tiny.samples(1)[0])


@thing
def data_empty(to):
    return lines(to)


@thing
def data_of_blank_lines(to):
    return lines(to, "", "  ", "")


@thing
def data_with_broken_line(to):
    return lines(to, GOOD, GOOD, GOOD[:-9])


@thing
def data_without_answers(to):
    return lines(to, *[json.dumps({"messages": [{"role": "user", "content": "hi"}]})] * 3)


@thing
def data_with_one_unanswered(to):
    return lines(to, GOOD, json.dumps({"messages": [{"role": "user", "content": "hi"}]}), GOOD)


@thing
def data_of_unknown_keys(to):
    return lines(to, json.dumps({"question": "a", "answer": "b"}))


@thing
def data_with_a_near_key(to):
    return lines(to, json.dumps({"prompt": "a", "completon": "b"}))


@thing
def data_with_wrong_type(to):
    return lines(to, GOOD, json.dumps({"messages": "hello"}))


@thing
def data_with_bad_utf8(to):
    return lines(to, GOOD, GOOD.replace("user", "user\udcff\udcfe"))


@thing
def data_with_long_sample(to):
    talk = [{"role": "user", "content": "lori " * 150}, {"role": "assistant", "content": "ka"}]
    return lines(to, GOOD, GOOD, json.dumps({"messages": talk}))


PAIR = json.dumps(tiny.samples(1, "pairs")[0])


@thing
def pairs(to):
    return lines(to, PAIR, PAIR)


@thing
def pairs_with_equal_sides(to):
    return lines(to, PAIR, json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}))


@thing
def pairs_without_rejected(to):
    return lines(to, PAIR, json.dumps({"prompt": "a", "chosen": "b"}))


@thing
def labels_that_are_numbers(to):
    return lines(to, json.dumps({"prompt": "a", "completion": "b", "label": 1}))


@thing
def labels_of_one_row(to):
    return lines(to, json.dumps({"prompt": "a", "completion": "b", "label": True}))


@thing
def list_that_does_not_end(to):
    path = to.with_suffix(".json")
    path.write_text("[\n" + GOOD + ",\n" + GOOD + "\n")
    return path


@thing
def shares_of_a_stranger(to):
    return lines(to, json.dumps({"conversations": [{"from": "humen", "value": "a"}]}))


@thing
def recipe_with_unknown_key(to):
    path = to.with_suffix(".yaml")
    path.write_text("method: lora\nseed: 4\nlerning_rate: 1e-3\n")
    return path


@thing
def recipe_with_broken_yaml(to):
    path = to.with_suffix(".yaml")
    path.write_text("method: lora\nseed: [4\nmax_steps: 1\n")
    return path


@thing
def recipe_with_wrong_type(to):
    path = to.with_suffix(".yaml")
    path.write_text("method:\n  name: lora\n  rank: many\n")
    return path


@thing
def foreign_recipe_with_wrong_type(to):
    path = to.with_suffix(".yaml")
    path.write_text("base_model: m\nadapter: lora\nmicro_batch_size: many\n")
    return path


@thing
def foreign_recipe_of_nobody(to):
    path = to.with_suffix(".yaml")
    path.write_text("a: 1\n")
    return path


@thing
def foreign_recipe_that_is_a_list(to):
    path = to.with_suffix(".yaml")
    path.write_text("- base_model: m\n")
    return path
