#!/usr/bin/env bash
# Rewrites requirements-lock.txt from .venv, keeping its leading comment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
{
  sed -n '/^#/p' requirements-lock.txt
  # A CUDA build brings packages of its own; they follow from TORCH and are not pinned here.
  .venv/bin/python -m pip freeze | grep -v -i -E '^(torch|triton|nvidia-.*|pip|setuptools|smidgen)([=@ ]|$)'
} >requirements-lock.new
mv requirements-lock.new requirements-lock.txt
