# Files of kernels/isa/ hold intrinsics of one instruction set each and are compiled for it alone; which of them runs is
# decided when the program starts (kernels/target.h). On other processors they compile to nothing.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(smidgen/kernels/isa/avx512_bf16.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512bf16")
  set_source_files_properties(smidgen/kernels/isa/avx512_int8.cpp smidgen/kernels/isa/avx512_vnni.cpp PROPERTIES
    COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni")
endif()
file(GLOB isa CONFIGURE_DEPENDS smidgen/kernels/isa/*.cpp)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # The undefined values within GCC 12's own intrinsics (GCC bug 105593).
  set_property(SOURCE ${isa} APPEND PROPERTY COMPILE_OPTIONS "-Wno-uninitialized")
endif()
# The precompiled header is made without their flags.
set_source_files_properties(${isa} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
