# Everything from outside: Debian's libraries, and the libtorch inside the torch wheel of .venv.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)

add_library(smidgen_deps INTERFACE)
target_include_directories(smidgen_deps INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(smidgen_deps INTERFACE nlohmann_json::nlohmann_json PkgConfig::YAML PkgConfig::PCRE2
                      PkgConfig::UTF8PROC PkgConfig::CRYPTO Threads::Threads ${CMAKE_DL_LIBS})

if(SMIDGEN_CORE OR SMIDGEN_VECTOR_KERNELS)
  pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
endif()
if(SMIDGEN_CORE)
  find_program(SMIDGEN_PYTHON NAMES python3 python HINTS ${CMAKE_SOURCE_DIR}/.venv/bin NO_DEFAULT_PATH)
  if(NOT SMIDGEN_PYTHON)
    find_program(SMIDGEN_PYTHON NAMES python3 python REQUIRED)
  endif()
  execute_process(
    COMMAND ${SMIDGEN_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE SMIDGEN_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT EXISTS "${SMIDGEN_TORCH_DIR}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "No libtorch found through ${SMIDGEN_PYTHON}. Run `make setup`, or configure with "
                        "-DSMIDGEN_PYTHON=/path/to/a/python/that/imports/torch, or -DSMIDGEN_CORE=OFF.")
  endif()
  # Linked by name: the wheel's own CMake package pulls in targets (MKL, CUDA) that a CPU build does not have.
  add_library(smidgen_torch INTERFACE)
  target_include_directories(smidgen_torch SYSTEM INTERFACE ${SMIDGEN_TORCH_DIR}/include
                             ${SMIDGEN_TORCH_DIR}/include/torch/csrc/api/include)
  target_compile_definitions(smidgen_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  target_link_libraries(smidgen_torch INTERFACE ${SMIDGEN_TORCH_DIR}/lib/libtorch_cpu.so
                        ${SMIDGEN_TORCH_DIR}/lib/libc10.so
                        PkgConfig::HWY)
endif()
if(SMIDGEN_TESTS)
  find_package(GTest REQUIRED)
endif()
if(SMIDGEN_BENCH)
  find_package(benchmark REQUIRED)
endif()
