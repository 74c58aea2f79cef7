"""Runs every script of this folder, one after the other; what `make bench` does beside the micro-benchmarks.

  python bench/all.py [--quick] [NAME ...]

Results are JSON files in build/bench/results, from which scripts/performance.py writes docs/performance.md.
"""

import argparse
import subprocess
import sys

import harness

# Not claims about speed with a peer on the other side, or with needs of their own.
APART = {"all", "harness", "int8", "learning"}


EVERYTHING = {"step": ["--case", "all"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    scripts = {p.stem: p for p in sorted((harness.ROOT / "bench").glob("*.py")) if p.stem not in APART}
    unknown = [name for name in args.names if name not in scripts]
    if unknown:
        parser.error(f"no script is called {unknown[0]}; there are: {' '.join(scripts)}")
    failed = []
    for name in args.names or scripts:
        print(f"== {name}", flush=True)
        flags = ["--quick"] if args.quick else EVERYTHING.get(name, [])
        if subprocess.run([sys.executable, scripts[name], *flags]).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
