"""Results of test programs in one form: GoogleTest, pytest and plain checks."""

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path

import processes

KEPT_OUTPUT = 4000  # characters of a failing test's output in the closing list


@dataclass
class Case:
    name: str
    outcome: str  # passed | failed | skipped
    reason: str = ""  # of a skip
    output: str = ""  # of a failure


def tail(text: str) -> str:
    text = text.strip()
    return text if len(text) <= KEPT_OUTPUT else "[...]\n" + text[-KEPT_OUTPUT:]


# ------------------------------------------------------------------------------------------ GoogleTest
def run_gtest(program: Path, logs: Path, limit: float, env=None) -> list[Case]:
    """Runs one test program. A crash, a time-out, or a program without tests is a failure."""
    report = logs / f"{program.name}.json"
    report.unlink(missing_ok=True)
    argv = [program, f"--gtest_output=json:{report}", "--gtest_color=no"]
    done = processes.run(argv, logs / f"{program.name}.txt", limit, env)
    label = program.name
    if report.exists() and not done.timed_out and done.code in (0, 1):
        cases = read_gtest_json(report, label)
        name_reasons(cases, done.output(), label)
        failed = any(c.outcome == "failed" for c in cases)
        if done.code == 1 and not failed:
            cases.append(Case(label, "failed", output=f"{done.ending()}\n{tail(done.output())}"))
    else:
        cases = read_gtest_text(done.output(), label, done.ending() or "ended without a report")
    if not cases:
        cases = [Case(label, "failed", output=f"the program holds no tests\n{tail(done.output())}")]
    return cases


def read_gtest_json(report: Path, label: str) -> list[Case]:
    cases = []
    for suite in json.loads(report.read_text())["testsuites"]:
        for test in suite["testsuite"]:
            name = f"{label}: {suite['name']}.{test['name']}"
            if "failures" in test:
                cases.append(Case(name, "failed", output=tail("\n".join(f["failure"] for f in test["failures"]))))
            elif test["status"] == "NOTRUN":
                cases.append(Case(name, "skipped", reason="disabled in the source"))
            elif test["result"] == "SKIPPED":
                cases.append(Case(name, "skipped"))
            else:
                cases.append(Case(name, "passed"))
    return cases


def name_reasons(cases: list[Case], text: str, label: str):
    """GoogleTest 1.12, which is Debian's, leaves the message of a skip out of its report; its output has it."""
    if any(c.outcome == "skipped" and not c.reason for c in cases):
        said = {c.name: c.reason for c in read_gtest_text(text, label, "")}
        for case in cases:
            if case.outcome == "skipped" and not case.reason:
                case.reason = said.get(case.name, last_line(""))


def last_line(text: str) -> str:
    """GoogleTest puts the source line before the message."""
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    return rows[-1] if rows else "no reason given"


def read_gtest_text(text: str, label: str, ending: str) -> list[Case]:
    """What a program that never wrote its report got done, and the test that it died in."""
    cases, running, began = [], None, 0
    for match in re.finditer(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] (\S+?)(?:,.*| \(.*)?$", text, re.M):
        word, name = match.groups()
        if word == "RUN":
            running, began = name, match.end()
        elif name == running:
            outcome = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[word]
            body = text[began : match.start()]
            cases.append(Case(f"{label}: {name}", outcome, last_line(body), tail(body)))
            running = None
    where = f"{label}: {running}" if running else label
    cases.append(Case(where, "failed", output=f"{ending}\n{tail(text[began:])}"))
    return cases


# ---------------------------------------------------------------------------------------------- pytest
def run_pytest(python: str, arguments: list, label: str, logs: Path, limit: float, env=None) -> list[Case]:
    """Runs pytest with the plugin that writes each result as it comes, so that a killed run keeps them."""
    journal = logs / f"{label}.jsonl"
    logs.mkdir(parents=True, exist_ok=True)
    journal.unlink(missing_ok=True)
    argv = [python, "-m", "pytest", "-p", "pytest_journal", f"--junitxml={logs / label}.xml", "-q", *arguments]
    here = str(Path(__file__).resolve().parent)
    env = {**(env or {}), "SMIDGEN_JOURNAL": str(journal), "PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1"}
    done = processes.run(argv, logs / f"{label}.txt", limit, env)
    cases = read_journal(journal) if journal.exists() else []
    if done.timed_out or done.code != 0 and not any(c.outcome == "failed" for c in cases):
        why = "no test was found" if done.code == 5 else done.ending()
        cases.append(Case(f"pytest {label}", "failed", output=f"{why}\n{tail(done.output())}"))
    return cases


def read_journal(journal: Path) -> list[Case]:
    cases, begun = {}, set()
    for row in map(json.loads, journal.read_text().splitlines()):
        name = row["name"]
        if row["event"] == "start":
            begun.add(name)
            continue
        begun.discard(name)
        case = Case(name, row["outcome"], row.get("reason", ""), tail(row.get("output", "")))
        # A test that passed and then failed in its tear-down is a failure.
        if name not in cases or case.outcome == "failed":
            cases[name] = case
    return list(cases.values()) + [Case(name, "failed", output="did not end") for name in sorted(begun)]


# ----------------------------------------------------------------------------------------------- skips
def read_skips(path: Path) -> list[tuple[str, str]]:
    """Rows `name pattern | reason pattern` (shell patterns); a bare `*` for a reason says nothing and is refused."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, bar, reason = (piece.strip() for piece in line.partition("|"))
        if not bar or not name or not reason.strip("*? "):
            raise SystemExit(f"error: {path}:{number}: expected `test | reason`, found: {line}")
        rows.append((name, reason))
    return rows


def refuse_unlisted(cases: list[Case], skips: list[tuple[str, str]]) -> list[Case]:
    """The same cases, with every skip that no row allows turned into a failure."""
    out = []
    for case in cases:
        allowed = any(fnmatch.fnmatchcase(case.name, n) and fnmatch.fnmatchcase(case.reason, r) for n, r in skips)
        if case.outcome == "skipped" and not allowed:
            text = f"skipped: {case.reason}\nIn CI a skip counts as a failure unless tests/skips.txt lists it."
            case = Case(case.name, "failed", output=text)
        out.append(case)
    return out
