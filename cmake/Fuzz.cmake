# Fuzz targets: each tests/fuzz/NAME.cpp becomes build/FLAVOUR/fuzz_NAME, linked to the rooms without torch. The rooms
# are instrumented once, so one sanitizer build serves the unit tests and the fuzzers.
if(SMIDGEN_FUZZ)
  # Files that need no torch, of a room whose others do.
  set(fuzz_merge_recipe_files layers model_index model_ref modules moe_recipe parameters plan plan_tensor recipe recipe_map recipe_models
    tokenizer_spec)
  list(TRANSFORM fuzz_merge_recipe_files PREPEND smidgen/delta/merge/)
  list(TRANSFORM fuzz_merge_recipe_files APPEND .cpp)
  file(GLOB targets CONFIGURE_DEPENDS tests/fuzz/*.cpp)
  foreach(source ${targets})
    get_filename_component(name ${source} NAME_WE)
    add_executable(fuzz_${name} ${source} ${fuzz_${name}_files})
    target_link_libraries(fuzz_${name} PRIVATE smidgen)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    smidgen_precompile(fuzz_${name} "")
  endforeach()
endif()
