"""The smidgen command as a Python package: the executable, its libraries and its CMake package lie in this folder."""

from pathlib import Path

EXECUTABLE = Path(__file__).parent / "bin" / "smidgen"
# For C++: cmake -DCMAKE_PREFIX_PATH=$(python -c "import smidgen; print(smidgen.cmake_prefix_path)")
cmake_prefix_path = str(Path(__file__).parent)
