#!/usr/bin/env python3
"""Runs everything that proves the parts, shows the time of each part against its budget, and closes with one line
`N passed, N failed, N skipped`. The exit code is 1 when anything failed. Logs and reports: build/log/tests/.

    run_tests.py            what make test and CI run
    run_tests.py --slow     the tests marked slow, the fuzz targets for hours, and the unit tests again as GCC compiles them
    run_tests.py --only unit --only parity
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import processes
from check import CHECKS
from jobs import jobs
from test_results import Case, read_skips, refuse_unlisted, run_gtest, run_pytest
from tree import ROOT, Tree

LOGS = ROOT / "build" / "log" / "tests"
PROGRAM_LIMIT = 300  # seconds for one test program, and for one pytest case
FUZZ_CORPUS = ROOT / "tests" / "fuzz" / "corpus"
# What one input may cost. The parsers promise bounded memory and no hang, so a target that goes over has found something.
FUZZ_LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-max_len=16384"]
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "0"))  # per target; 0: by the part
SANITIZER = {
    "ASAN_OPTIONS": "strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


@dataclass
class Part:
    title: str
    budget: float  # minutes; a part over it is to be cut, the limit is not raised
    run: object = None  # (limit in seconds) -> [Case]
    needs: str = ""  # a part without which this one says nothing
    seconds: float = 0
    cases: list = field(default_factory=list)

    def failed(self):
        return any(c.outcome == "failed" for c in self.cases)


# ----------------------------------------------------------------------------------------------- parts
def build(flavour):
    def run(limit):
        done = processes.run(["scripts/build.sh", flavour], LOGS / f"build-{flavour}.txt", limit, cwd=ROOT)
        text = f"{done.ending()}\n{done.output()[-6000:]}"
        return [Case(f"build {flavour}", "failed" if done.ending() else "passed", output=text)]

    return run


def test_programs(flavour, env=None):
    def run(limit):
        deadline = time.monotonic() + limit
        cases = []
        programs = sorted((ROOT / "build" / flavour).glob("*_test"))
        for program in programs:
            left = min(PROGRAM_LIMIT, deadline - time.monotonic())
            if left <= 0:
                cases.append(Case(program.name, "failed", output="not started: the part used up its time"))
                continue
            cases += run_gtest(program, LOGS / flavour, left, env)
        return cases or [Case(f"{flavour}: test programs", "failed", output=f"build/{flavour} holds no *_test program")]

    return run


def fuzz(seconds):
    """Every fuzz target over its committed corpus and then over what it makes of it. A finding is left in build/fuzz/NAME;
    what the runs learned stays in build/fuzz/NAME/corpus, so that each goes on where the last one ended."""

    def one(program, limit):
        name = program.name.removeprefix("fuzz_")
        home = ROOT / "build" / "fuzz" / name
        (home / "corpus").mkdir(parents=True, exist_ok=True)
        if not (FUZZ_CORPUS / name).is_dir():
            return Case(f"fuzz {name}", "failed", output=f"there is no corpus tests/fuzz/corpus/{name}")
        argv = [program, f"-max_total_time={FUZZ_SECONDS or seconds}", *FUZZ_LIMITS, f"-artifact_prefix={home}/"]
        argv += ["-print_final_stats=1", home / "corpus", FUZZ_CORPUS / name]
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=memory) as scratch:
            done = processes.run(argv, LOGS / "fuzz" / f"{name}.txt", limit, {**SANITIZER, "TMPDIR": scratch})
        text = done.output()
        if done.ending():
            return Case(f"fuzz {name}", "failed", output=f"{done.ending()}\n{text[-6000:]}")
        count = [row.split()[-1] for row in text.splitlines() if row.startswith("stat::number_of_executed_units")]
        print(f"   {name}: {int(count[0]) if count else 0:,} inputs in {done.seconds:.0f} s", flush=True)
        return Case(f"fuzz {name}", "passed")

    def run(limit):
        programs = sorted((ROOT / "build" / "asan").glob("fuzz_*"))
        missing = {p.stem for p in (ROOT / "tests" / "fuzz").glob("*.cpp")} - {p.name.removeprefix("fuzz_") for p in programs}
        cases = [Case(f"fuzz {name}", "failed", output="it was not built") for name in sorted(missing)]
        # Set here, since worker threads may not.
        processes.allow_interrupts()
        with ThreadPoolExecutor(max_workers=max(1, len(os.sched_getaffinity(0)))) as pool:
            return cases + list(pool.map(lambda program: one(program, limit), programs))

    return run


def pytests(label, folder, without=(), marked="not slow", at_once=False):
    """`at_once`: a process for each core, to which whole files go. Not for tests that look at time or memory."""

    def run(limit):
        if not (ROOT / folder).is_dir():
            return [Case(f"pytest {label}", "failed", output=f"there is no folder {folder}")]
        ignored = [f"--ignore={f}" for f in without]
        spread = ["-n", str(jobs()), "--dist=loadfile"] if at_once else []
        arguments = [*spread, "-m", marked, f"--timeout={PROGRAM_LIMIT}", "--durations=10", *ignored, folder]
        return run_pytest(sys.executable, arguments, label, LOGS, limit)

    return run


def checks(limit):
    tree = Tree()
    found = {name: check(tree) for name, check in CHECKS.items()}
    return [Case(f"check {n}", "failed" if wrong else "passed", output="\n".join(wrong)) for n, wrong in found.items()]


def in_turn(*steps):
    """Several runs as one part; after a failed build the rest would test something old."""

    def run(limit):
        deadline = time.monotonic() + limit
        cases = []
        for step in steps:
            cases += step(max(1, deadline - time.monotonic()))
            if cases[-1].name.startswith("build ") and cases[-1].outcome == "failed":
                break
        return cases

    return run


def set_up(limit):
    return []  # Done by make before this script could run; scripts/setup.sh left its time.


PARTS = {
    "set-up": Part("set-up", 4, set_up),
    "build": Part("build", 13, build("release")),
    "unit": Part("unit and laws", 3, in_turn(checks, pytests("gate", "tests/gate"), test_programs("release")), "build"),
    "parity": Part("parity", 12, pytests("parity", "tests/parity", at_once=True), "build"),
    "command": Part("command and resume", 6, pytests("command", "tests", ("tests/parity", "tests/gate")), "build"),
    "asan": Part("ASan, torch-free rooms", 5, in_turn(build("asan"), test_programs("asan", SANITIZER))),
    "fuzz": Part("fuzz targets", 2, fuzz(8), "asan"),
}
SLOW_PARTS = {
    "build": Part("build", 15, build("release")),
    "slow": Part("tests marked slow", 60, pytests("slow", "tests", marked="slow"), "build"),
    "asan": Part("sanitizer build", 10, build("asan")),
    "fuzz": Part("fuzz targets", 120, fuzz(900), "asan"),
    "gcc": Part("unit and laws with GCC", 40, in_turn(build("gcc"), test_programs("gcc"))),
}


# ---------------------------------------------------------------------------------------------- report
def show_failures(cases):
    failed = [c for c in cases if c.outcome == "failed"]
    skipped = [c for c in cases if c.outcome == "skipped"]
    for case in failed:
        print(f"\n---- FAILED {case.name}")
        print("\n".join("    " + row for row in case.output.strip().splitlines()))
    if skipped:
        print("\nskipped:")
        for case in skipped:
            print(f"    {case.name}: {case.reason}")
    if failed:
        print("\nfailed:")
        for case in failed:
            print(f"    {case.name}")


def show_times(parts):
    print(f"\n{'part':<26}{'time':>8}{'budget':>9}{'passed':>9}{'failed':>8}{'skipped':>9}")
    for part in parts:
        counts = "".join(f"{count:>{width}}" for count, width in zip(count_of(part.cases), (9, 8, 9)))
        over = "  over budget" if part.seconds > part.budget * 60 else ""
        print(f"{part.title:<26}{part.seconds / 60:>6.1f} m{part.budget:>7.0f} m{counts}{over}")
    print(f"{'all':<26}{sum(p.seconds for p in parts) / 60:>6.1f} m")


def count_of(cases):
    return tuple(sum(c.outcome == o for c in cases) for o in ("passed", "failed", "skipped"))


def run_parts(parts: dict, skips, ci: bool) -> list[Case]:
    for name, part in parts.items():
        needed = parts.get(part.needs)
        print(f"== {part.title}", flush=True)
        if needed and needed.failed():
            part.cases = [Case(name, "failed", output=f"not run, since the part `{part.needs}` failed")]
            continue
        began = time.monotonic()
        # The budget is a goal on a quiet machine; twice that and the part is ended.
        part.cases = part.run(part.budget * 120)
        part.seconds = time.monotonic() - began
        if ci:
            part.cases = refuse_unlisted(part.cases, skips)
        passed, failed, skipped = count_of(part.cases)
        print(f"   {part.seconds:.0f} s: {passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return [case for part in parts.values() for case in part.cases]


def main():
    parser = argparse.ArgumentParser(description="Runs the tests; see the top of this file.")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--only", action="append", metavar="PART", default=[])
    arguments = parser.parse_args()
    parts = SLOW_PARTS if arguments.slow else PARTS
    unknown = [name for name in arguments.only if name not in parts]
    if unknown:
        parser.error(f"no part is called {unknown[0]}; there are: {' '.join(parts)}")
    if arguments.only:
        parts = {name: part for name, part in parts.items() if name in arguments.only}
    os.chdir(ROOT)
    LOGS.mkdir(parents=True, exist_ok=True)
    ci = os.environ.get("CI", "").lower() in ("1", "true", "yes")
    cases = run_parts(parts, read_skips(ROOT / "tests" / "skips.txt"), ci)
    recorded = ROOT / "build" / "log" / "setup.seconds"
    if "set-up" in parts and recorded.exists():
        parts["set-up"].seconds = float(recorded.read_text())
    show_failures(cases)
    show_times(parts.values())
    passed, failed, skipped = count_of(cases)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
