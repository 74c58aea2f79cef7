"""Compressing an adapter against the same codes made by torch and NumPy: wall time, in turns in one run. The codes are
compared byte for byte in that run.

An adapter with random factors in fp32 is made once in --scratch. Both times are those of the work: from opening the file, after a process has started and imported what it needs, to codes that
lie on the disk. The JSON file has the times of whole processes too. The file is in the page cache for both. The last row reads
it twice, with every core, and does nothing else: what the two passes need at least.

  python bench/compress.py [--millions 134] [--runs 5] [--scratch DIR] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements. What the coders do a second, without files, is in
smidgen/delta/compress/compress_bench.cpp.
"""

import json
import os
import shutil
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness

CASES = [("masks", 0.2), ("rice", 0.05), ("rice", 0.2)]


def make_adapter(folder, millions):
    """Two factors of other scales, as LoRA's are."""
    import numpy as np
    from safetensors.numpy import save_file

    if (folder / "adapter_model.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw, rows = np.random.default_rng(1), int(millions * 1e6) // 2 // 4096
    tensors = {
        f"base_model.model.x.lora_{side}.weight": draw.standard_normal((rows, 4096), np.float32) * np.float32(scale)
        for side, scale in (("A", 0.02), ("B", 0.015))
    }
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rows, "target_modules": ["x"]}))
    save_file(tensors, folder / "part", metadata={"format": "pt"})
    (folder / "part").rename(folder / "adapter_model.safetensors")


def codes_of(folder):
    """The bytes of the tensor `codes` of a compressed adapter."""
    data = (folder / "delta.safetensors").read_bytes()
    head = struct.unpack("<Q", data[:8])[0]
    begin, end = json.loads(data[8 : 8 + head])["codes"]["data_offsets"]
    return data[8 + head + begin : 8 + head + end]


def ours(adapter, out, codec, density):
    shutil.rmtree(out, ignore_errors=True)
    argv = [harness.SMIDGEN, "compress", adapter, "--out", out, "--codec", codec, "--density", str(density), "--alpha", "1", "--balance=false", "--json"]
    begin = time.perf_counter()
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    process = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"process": process, **{k: v for k, v in json.loads(done.stdout).items() if k in ("seconds", "sigma", "kept", "bits", "entropy")}}


def peers(adapter, out, codec, density):
    begin = time.perf_counter()
    done = harness.peer("compress.py", "--adapter", adapter, "--out", out, "--codec", codec, "--density", density)
    return {"process": time.perf_counter() - begin, **done}


def two_reads(file):
    """The least that two passes take: every core reads its part of the mapped file, twice."""
    import numpy as np

    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        begin = time.perf_counter()
        parts = np.array_split(np.memmap(file, np.uint64, "r", shape=(file.stat().st_size // 8,)), cores * 8)
        for _ in range(2):
            list(pool.map(np.bitwise_or.reduce, parts))
        return {"seconds": time.perf_counter() - begin}


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--millions", type=float, default=134, help="values of the adapter")
    parser.add_argument("--scratch", type=Path, default=harness.ROOT / "build" / "bench" / "compress")
    args = parser.parse_args()
    if args.quick:
        args.runs, args.millions = 1, 4
    adapter = args.scratch / f"adapter-{args.millions:g}"
    make_adapter(adapter, args.millions)
    file = adapter / "adapter_model.safetensors"
    out, theirs = args.scratch / "out-smidgen", args.scratch / "out-peer"
    rows, cases = [], {}
    for codec, density in CASES:
        sides = {
            "smidgen": lambda: ours(adapter, out, codec, density),
            "peer": lambda: peers(adapter, theirs, codec, density),
            "two reads": lambda: two_reads(file),
        }
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, run in sides.items():
                runs[side].append(run())
        equal = codes_of(out) == theirs.read_bytes()
        if not equal or runs["smidgen"][-1]["kept"] != runs["peer"][-1]["kept"]:
            raise SystemExit(f"{codec} {density}: the two sides wrote different codes")
        last = runs["smidgen"][-1]
        spreads = {side: harness.spread([r["seconds"] for r in done]) for side, done in runs.items()}
        ratio, share = harness.ratio(spreads["peer"], spreads["smidgen"]), harness.ratio(spreads["two reads"], spreads["smidgen"])
        name = f"{codec} {density:g}"
        processes = {side: harness.spread([r["process"] for r in runs[side]]) for side in ("smidgen", "peer")}
        cases[name] = {**spreads, "processes": processes, "speed_ratio": ratio, "share_of_two_reads": share, "equal_codes": equal, "bits": last["bits"], "of_entropy": last["bits"] / last["entropy"]}
        for side, s in spreads.items():
            rows.append([f"{name}: {side}", s["median"], s["least"], s["most"], ratio if side == "peer" else ""])
    shutil.rmtree(out, ignore_errors=True)
    theirs.unlink(missing_ok=True)
    harness.table(["", "s", "least", "most", "times"], rows)
    harness.write(args, {"millions": args.millions, "cases": cases}, "compress")


if __name__ == "__main__":
    main()
