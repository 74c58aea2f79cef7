"""The console script: this process becomes the executable, so signals and exit codes are its own."""

import os
import sys

from . import EXECUTABLE


def main():
    try:
        os.execv(EXECUTABLE, [str(EXECUTABLE), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"error: {EXECUTABLE}: {error.strerror}\nhint: install smidgen again")
