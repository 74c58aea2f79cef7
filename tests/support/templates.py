"""Chat templates rendered twice: by jinja2 in the environment of transformers, and by smidgen in one process."""
import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path

from support.paths import BUILD

PROGRAM = Path(os.environ.get("SMIDGEN_BUILD", BUILD / "release")) / "render_templates"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.\nToday \"only\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city <or town>"},
                "unit": {"type": "string", "enum": ["°C", "°F"]},
                "days": {"type": ["integer", "null"], "default": 1},
            },
            "required": ["city"],
        },
        "return": {"type": "number", "description": "degrees"},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, id="call12345"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


ASK = turn("user", "What is 1 + 1?")
TWO = turn("assistant", "2")
TOOLED = [
    turn("user", "Rain in Zürich?"),
    turn("assistant", "", tool_calls=[call("get_weather", {"city": "Zürich", "unit": "°C", "days": 2})]),
    turn("tool", '{"degrees": 7.5}', name="get_weather", tool_call_id="call12345"),
]
CONVERSATIONS = {
    "one turn": {"messages": [ASK]},
    "prompt": {"messages": [ASK], "add_generation_prompt": True},
    "system": {"messages": [turn("system", " Be brief. "), ASK, TWO]},
    "several turns": {"messages": [turn("system", "S"), ASK, TWO, turn("user", "And 2 + 2?"), turn("assistant", "4\n")]},
    "several turns, prompt": {"messages": [ASK, TWO, turn("user", "  And\n2 + 2? ")], "add_generation_prompt": True},
    "empty": {"messages": [turn("system", ""), turn("user", ""), turn("assistant", "")]},
    "no messages": {"messages": [], "add_generation_prompt": True},
    "Unicode": {"messages": [turn("user", "Grüße, 世界 👋🏽 'x' \"y\" <b>&amp;</b>\u2028\ttab\\n"), turn("assistant", "ŸES ß ﬁ")]},
    "tools": {"messages": [ASK], "tools": [WEATHER, CLOCK], "add_generation_prompt": True},
    "tool call": {"messages": [*TOOLED, turn("assistant", "7.5 degrees, no rain.")], "tools": [WEATHER]},
    "tool result": {"messages": [turn("system", "S"), *TOOLED], "tools": [WEATHER, CLOCK], "add_generation_prompt": True},
    "arguments as text": {
        "messages": [
            turn("user", "t?"),
            turn("assistant", None, tool_calls=[call("clock", "{}"), call("get_weather", '{"city": "Ulm"}', "call67890")]),
            turn("tool", "12:00", tool_call_id="call12345"),
            turn("tool", [{"type": "text", "text": "wet"}], tool_call_id="call67890"),
            turn("user", "Thanks"),
        ],
        "tools": [CLOCK, WEATHER],
    },
    "parts": {
        "messages": [
            turn("system", [{"type": "text", "text": "Look."}]),
            turn("user", [{"type": "text", "text": "What is"}, {"type": "image", "url": "a.png"}, {"type": "text", "text": "this?"}]),
            turn("assistant", [{"type": "text", "text": "A cat."}]),
        ]
    },
    "reasoning": {
        "messages": [ASK, turn("assistant", "2", reasoning_content="one and one\n"), turn("user", "Sure?"), turn("assistant", "<think>\nhm\n</think>\n\nYes", thinking="quite")],
        "enable_thinking": True,
    },
    "no thinking": {"messages": [ASK, turn("assistant", "<think>a</think>b"), ASK], "enable_thinking": False, "add_generation_prompt": True},
    "wrong order": {"messages": [TWO, ASK, ASK, turn("narrator", "x")]},
    "documents": {"messages": [ASK], "documents": [{"title": "T", "text": "long"}], "add_generation_prompt": True, "date_string": "26 Jul 2024"},
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


@lru_cache(maxsize=None)
def environment():
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template("x").environment


def by_jinja(template, messages, spans=False, **variables):
    """{"text"} or {"error"}: what transformers gives, with everything that a template can raise."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        text, marks = render_jinja_template(
            conversations=[messages], chat_template=template, return_assistant_tokens_mask=spans, **{**SPECIAL, **variables}
        )
    except Exception as error:  # noqa: BLE001: whatever it is, it is an error to the user
        return {"error": str(error), "type": type(error).__name__}
    return {"text": text[0], "spans": marks[0]} if spans else {"text": text[0]}


def by_smidgen(requests):
    """The answers to a list of {"template", "messages", ...variables}, in order."""
    lines = []
    for request in requests:
        known = {key: request[key] for key in ("template", "messages", "name", "spans", "steps") if key in request}
        known["variables"] = {**SPECIAL, **{key: value for key, value in request.items() if key not in known}}
        lines.append(json.dumps(known))
    done = subprocess.run([str(PROGRAM)], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(requests)
    return answers


def differs(theirs, ours):
    """Empty when they agree: the same text, or both refuse, with the template's own words if it has any."""
    if ("error" in theirs) != ("error" in ours):
        return "only one of them refuses"
    if "error" not in theirs:
        return "" if theirs["text"] == ours["text"] else "the texts differ"
    if theirs["type"] == "TemplateError" and theirs["error"] not in ours["error"]:
        return "the template's message is missing"
    return ""
