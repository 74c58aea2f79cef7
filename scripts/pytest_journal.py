"""A pytest plugin: one JSON line per result, written at once, so that a crash or a kill loses nothing before it."""

import json
import os


def write(**row):
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the process that hands out the tests hears of every result, and writes it
    with open(os.environ["SMIDGEN_JOURNAL"], "a") as out:
        out.write(json.dumps(row) + "\n")


def pytest_runtest_logstart(nodeid, location):
    write(event="start", name=nodeid)


def pytest_runtest_logreport(report):
    output = "\n".join([report.longreprtext, *(f"-- {title}\n{text}" for title, text in report.sections)])
    if report.failed:
        write(event="end", name=report.nodeid, outcome="failed", output=f"in {report.when}\n{output}")
    elif report.skipped:
        write(event="end", name=report.nodeid, outcome="skipped", reason=reason_of(report))
    elif report.when == "call":
        write(event="end", name=report.nodeid, outcome="passed")


def pytest_collectreport(report):
    if report.failed:
        write(event="end", name=report.nodeid or "collection", outcome="failed", output=report.longreprtext)
    elif report.skipped:
        write(event="end", name=report.nodeid, outcome="skipped", reason=reason_of(report))


def reason_of(report):
    if hasattr(report, "wasxfail"):
        return "expected failure: " + report.wasxfail
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
