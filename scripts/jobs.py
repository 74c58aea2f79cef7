#!/usr/bin/env python3
"""Prints how many compilers, or tests that hold a model, to run at once: by cores and quota, but no more than memory allows."""

import os

BYTES_PER_JOB = 2 << 30  # A unit that includes torch/torch.h peaks between 1 and 2 GB.


def read(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def cores():
    count = len(os.sched_getaffinity(0))
    quota = read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, max(1, round(int(quota[0]) / int(quota[1]))))
    return count


def free_bytes():
    rows = dict(row.split(":", 1) for row in read("/proc/meminfo").splitlines() if ":" in row)
    free = int(rows.get("MemAvailable", "0 kB").split()[0]) << 10
    limit = read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        free = min(free, int(limit) - int(read("/sys/fs/cgroup/memory.current").strip() or 0))
    return free


def jobs():
    return max(1, min(cores(), free_bytes() // BYTES_PER_JOB))


if __name__ == "__main__":
    print(jobs())
