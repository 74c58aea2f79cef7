# Language level, warnings, optimisation, ccache and sanitizers for every target of the project.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# -ffp-contract=off: reference quantisers and oracles compare bits, and a fused multiply-add moves them.
# GCC's -Wshadow counts members, and the parameter of a macro of GoogleTest.
add_compile_options(-Wall -Wextra $<$<CXX_COMPILER_ID:Clang>:-Wshadow> -Wno-missing-field-initializers -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlaps in assignments to std::string that cannot happen (GCC bug 105651), and fields
  # without a value in torch's own headers.
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized)
endif()
# The front door (make) turns this on; a build with another compiler should not fail over a new warning.
option(SMIDGEN_WERROR "Treat warnings as errors" OFF)
if(SMIDGEN_WERROR)
  add_compile_options(-Werror)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(SMIDGEN_CCACHE ccache)
if(SMIDGEN_CCACHE)
  # A precompiled header makes ccache miss for ever unless time stamps are left out of the comparison.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${SMIDGEN_CCACHE})
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  find_program(SMIDGEN_LLD ld.lld-16)
  if(SMIDGEN_LLD)
    add_link_options(--ld-path=${SMIDGEN_LLD})
  endif()
else()
  add_compile_options(-fpch-preprocess)
endif()

if(SMIDGEN_SANITIZE)
  add_compile_options(-fsanitize=${SMIDGEN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SMIDGEN_SANITIZE})
endif()
if(SMIDGEN_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "SMIDGEN_FUZZ needs clang, which brings libFuzzer; this is ${CMAKE_CXX_COMPILER_ID}")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# `pip install .`: the torch to link is the one of the Python that builds, not that of a .venv in the tree.
if(SKBUILD AND NOT DEFINED SMIDGEN_PYTHON)
  set(SMIDGEN_PYTHON ${Python_EXECUTABLE} CACHE FILEPATH "The Python whose torch is linked")
endif()
