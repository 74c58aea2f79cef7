# `pip install .` puts these into the package's folder: bin/, lib/ and share/ beside the console script's module.
# The libraries find torch in the package next door ($ORIGIN/../../torch/lib, see Rooms.cmake).
set(installed)
if(TARGET smidgen)
  # No version in the file name: both libraries belong to exactly one build of the command.
  set_target_properties(smidgen PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS smidgen LIBRARY DESTINATION lib COMPONENT smidgen)
  list(APPEND installed smidgen)
endif()
if(TARGET smidgen_core)
  install(TARGETS smidgen_core LIBRARY DESTINATION lib COMPONENT smidgen)
  list(APPEND installed smidgen_core)
endif()
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
add_custom_target(smidgen_install DEPENDS ${installed})
