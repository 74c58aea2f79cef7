# What an installation holds: bin/smidgen, both libraries, the public header, and a CMake package that finds them from
# anywhere. `pip install .` puts the same tree into the Python package's own folder, where torch lies next door.
include(CMakePackageConfigHelpers)

set(installed)
set(package lib/cmake/smidgen)
# No version in the file names: both libraries belong to exactly one build of the command.
if(TARGET smidgen)
  set_target_properties(smidgen PROPERTIES INSTALL_RPATH "$ORIGIN")
  list(APPEND installed smidgen)
endif()
if(TARGET smidgen_core)
  set(torch_places "$ORIGIN/../../torch/lib")
  if(NOT SKBUILD)
    # A prefix of the user's: the torch that it was built against is the one to run with.
    list(APPEND torch_places "${SMIDGEN_TORCH_DIR}/lib")
  endif()
  set_target_properties(smidgen_core PROPERTIES INSTALL_RPATH "$ORIGIN;${torch_places}")
  list(APPEND installed smidgen_core)
endif()
# The package's targets are written by hand (smidgenConfig.cmake): an exported target would repeat every private
# dependency, and a user of the public header needs none of them.
foreach(library ${installed})
  install(TARGETS ${library} LIBRARY DESTINATION lib COMPONENT smidgen)
endforeach()
if(TARGET smidgen_exe)
  install(TARGETS smidgen_exe RUNTIME DESTINATION bin COMPONENT smidgen)
  list(APPEND installed smidgen_exe)
endif()
if(TARGET smidgen_schema)
  install(FILES ${CMAKE_BINARY_DIR}/schema.json DESTINATION share/smidgen COMPONENT smidgen)
  list(APPEND installed smidgen_schema)
endif()
install(DIRECTORY ${CMAKE_SOURCE_DIR}/scripts/data DESTINATION share/smidgen COMPONENT smidgen
        OPTIONAL PATTERN __pycache__ EXCLUDE)
install(FILES smidgen/smidgen.h DESTINATION include/smidgen COMPONENT smidgen)
install(FILES smidgen/base/error.h smidgen/base/str.h DESTINATION include/smidgen/base COMPONENT smidgen)
configure_package_config_file(cmake/smidgenConfig.cmake.in ${CMAKE_BINARY_DIR}/package/smidgenConfig.cmake
                              INSTALL_DESTINATION ${package})
# Before 1.0 every minor version may change the interface.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/smidgenConfigVersion.cmake
                                 VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/package/smidgenConfig.cmake ${CMAKE_BINARY_DIR}/package/smidgenConfigVersion.cmake
        DESTINATION ${package} COMPONENT smidgen)
add_custom_target(smidgen_install DEPENDS ${installed})
