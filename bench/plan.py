"""Does `smidgen plan` foretell time and memory? Predictions against real steps, both from one run.

Each case is planned with an empty cache (so that the machine is probed now), and then runs 20 steps on random ids. Time
is held against their median, memory against the most that the process ever held.

  python bench/plan.py [--model GGUF] [--steps 20] [--quick] [--out FILE.json]

Needs a built smidgen (build/release).
"""

import os
import tempfile

import harness

CASES = [("2x512", []), ("8x512", []), ("1x2048", []), ("2x512", ["--dtype", "fp32"]), ("2x512", ["--rank", 64]), ("2x256", ["--method", "full"])]


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=20)
    args = harness.parsed(parser)
    if args.quick:
        args.steps = 2
    rows, cases = [], []
    for tokens, flags in CASES[:1] if args.quick else CASES:
        common = ["--model", args.model, "--tokens", tokens, *flags, "--json"]
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            plan = harness.call([harness.SMIDGEN, "plan", *common])
        real = harness.call([harness.SMIDGEN, "bench", "step", *common, "--steps", args.steps, "--skip", 1, "--step-only"])
        case = {
            "tokens": tokens,
            "flags": [str(f) for f in flags],
            "planned_s": plan["step_s"],
            "step_s": real["step_s"],
            "time_ratio": plan["step_s"] / real["step_s"],
            "planned_mb": plan["peak_bytes"] / 2**20,
            "peak_mb": real["peak_mb"],
            "memory_ratio": plan["peak_bytes"] / 2**20 / real["peak_mb"],
        }
        cases.append(case)
        rows.append([f"{tokens} {' '.join(case['flags'])}", *(case[k] for k in list(case)[2:])])
    harness.table(["case", "planned s", "real s", "ratio", "planned MB", "real MB", "ratio"], rows)
    harness.write(args, {"cases": cases}, "plan")


if __name__ == "__main__":
    main()
