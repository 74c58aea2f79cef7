"""The runner counts what happened: crashes, hangs and empty programs are failures, and an unlisted skip is one in CI."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_results import Case, read_skips, refuse_unlisted, run_gtest, run_pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def program(folder: Path, body: str) -> Path:
    """A stand-in for a GoogleTest program: prints what one prints."""
    path = folder / "room_test"
    path.write_text("#!/bin/sh\n" + textwrap.dedent(body))
    path.chmod(0o755)
    return path


def outcomes(cases):
    return {case.name: case.outcome for case in cases}


def test_a_crash_names_the_test_and_keeps_those_before(tmp_path):
    cases = run_gtest(
        program(
            tmp_path,
            """
            echo "[ RUN      ] A.First"
            echo "[       OK ] A.First (0 ms)"
            echo "[ RUN      ] A.Second"
            kill -SEGV $$
            """,
        ),
        tmp_path / "logs",
        20,
    )
    assert outcomes(cases) == {"room_test: A.First": "passed", "room_test: A.Second": "failed"}
    assert "SIGSEGV" in cases[-1].output


def test_a_hang_is_ended_with_its_children(tmp_path):
    body = 'echo "[ RUN      ] A.Hangs"\nsleep 300 &\necho $! > pid\nwait\n'
    path = program(tmp_path, f"cd {tmp_path}\n{body}")
    cases = run_gtest(path, tmp_path / "logs", 1)
    assert outcomes(cases) == {"room_test: A.Hangs": "failed"}
    assert "killed after" in cases[0].output
    child = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]


def test_a_program_without_tests_fails(tmp_path):
    body = """for a; do case $a in --gtest_output=json:*) echo '{"testsuites": []}' > "${a#*json:}";; esac; done"""
    assert outcomes(run_gtest(program(tmp_path, body), tmp_path / "logs", 20)) == {"room_test": "failed"}


def test_a_program_started_in_the_background_can_be_interrupted(tmp_path):
    """A shell's background job ignores SIGINT, and hands that on."""
    code = f"import processes, pathlib; done = processes.run(['sh', '-c', 'kill -INT $$; exit 7'], pathlib.Path({str(tmp_path / 'log')!r}), 20); print(done.ending())"
    argv = ["sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=SCRIPTS)
    assert done.stdout == "ended by SIGINT\n", done.stderr


def test_exit_0_without_a_report_fails(tmp_path):
    assert outcomes(run_gtest(program(tmp_path, "exit 0"), tmp_path / "logs", 20)) == {"room_test": "failed"}


def test_the_reason_of_a_skip_comes_from_the_output(tmp_path):
    """Debian's GoogleTest leaves it out of the report."""
    report = '{"testsuites": [{"name": "A", "testsuite": [{"name": "B", "status": "RUN", "result": "SKIPPED"}]}]}'
    body = f"""
    for a; do case $a in --gtest_output=json:*) echo '{report}' > "${{a#*json:}}";; esac; done
    echo "[ RUN      ] A.B"
    echo "../it_test.cpp:7: Skipped"
    echo "no such machine"
    echo "[  SKIPPED ] A.B (0 ms)"
    """
    (case,) = run_gtest(program(tmp_path, body), tmp_path / "logs", 20)
    assert (case.outcome, case.reason) == ("skipped", "no such machine")


SPREAD = [[], ["-n", "2", "--dist=loadfile"]]  # one process, and a process for each core


def pytest_run(folder, body, spread=(), limit=60):
    (folder / "test_it.py").write_text(textwrap.dedent(body))
    arguments = [*spread, "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return run_pytest(sys.executable, arguments, "it", folder / "logs", limit)


@pytest.mark.parametrize("spread", SPREAD)
def test_pytest_results(tmp_path, spread):
    cases = pytest_run(
        tmp_path,
        """
        import pytest
        def test_good(): pass
        def test_bad(): assert 1 == 2
        @pytest.mark.skip(reason="no such machine")
        def test_skipped(): pass
        @pytest.fixture
        def broken():
            yield
            raise RuntimeError("tear-down")
        def test_teardown(broken): pass
        """,
        spread,
    )
    assert len(cases) == 4
    short = {name.split("::")[-1]: outcome for name, outcome in outcomes(cases).items()}
    assert short == {"test_good": "passed", "test_bad": "failed", "test_skipped": "skipped", "test_teardown": "failed"}
    assert [c.reason for c in cases if c.outcome == "skipped"] == ["no such machine"]


@pytest.mark.parametrize("spread", SPREAD)
@pytest.mark.parametrize("body", ["import no_such_module", "def nothing(): pass"])
def test_pytest_that_ran_nothing_fails(tmp_path, body, spread):
    assert "failed" in outcomes(pytest_run(tmp_path, body, spread)).values()


@pytest.mark.parametrize("spread", SPREAD)
def test_pytest_crash_keeps_earlier_results(tmp_path, spread):
    body = """
    import os
    def test_a(): pass
    def test_b(): os.abort()
    """
    short = {n.split("::")[-1]: o for n, o in outcomes(pytest_run(tmp_path, body, spread)).items()}
    assert short == {"test_a": "passed", "test_b": "failed"}


def test_skips(tmp_path):
    listing = tmp_path / "skips.txt"
    listing.write_text("# allowed\nkernels_test: * | no AVX-512*\n")
    skips = read_skips(listing)
    listed = Case("kernels_test: Bf16.Dot", "skipped", "no AVX-512 here")
    other_reason = Case("kernels_test: Bf16.Dot", "skipped", "not today")
    other_name = Case("nn_test: A.B", "skipped", "no AVX-512 here")
    found = refuse_unlisted([listed, other_reason, other_name], skips)
    assert [c.outcome for c in found] == ["skipped", "failed", "failed"]


@pytest.mark.parametrize("row", ["kernels_test: *", "kernels_test: * | *", "| reason"])
def test_a_skip_row_needs_a_reason(tmp_path, row):
    listing = tmp_path / "skips.txt"
    listing.write_text(row + "\n")
    with pytest.raises(SystemExit, match="skips.txt:1"):
        read_skips(listing)


def test_fuzz_targets_that_find_something_or_are_missing_fail(tmp_path, monkeypatch):
    import run_tests

    monkeypatch.setattr(run_tests, "ROOT", tmp_path)
    monkeypatch.setattr(run_tests, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(run_tests, "FUZZ_CORPUS", tmp_path / "corpus")
    bodies = {
        "calm": 'test -d "$TMPDIR" && echo "stat::number_of_executed_units: 7"',
        "crashes": "kill -ABRT $$",
        "without_corpus": "exit 0",
        "unbuilt": None,
    }
    (tmp_path / "build" / "asan").mkdir(parents=True)
    (tmp_path / "tests" / "fuzz").mkdir(parents=True)
    for name, body in bodies.items():
        (tmp_path / "tests" / "fuzz" / f"{name}.cpp").touch()
        if name != "without_corpus":
            (tmp_path / "corpus" / name).mkdir(parents=True)
        if body:
            path = tmp_path / "build" / "asan" / f"fuzz_{name}"
            path.write_text("#!/bin/sh\n" + body)
            path.chmod(0o755)
    cases = run_tests.fuzz(1)(20)
    assert outcomes(cases) == {
        "fuzz calm": "passed", "fuzz crashes": "failed", "fuzz without_corpus": "failed", "fuzz unbuilt": "failed"
    }  # fmt: skip
