# One list line registers one entry. For smidgen/<dir>/<leaf>.list with the line `name` this checks that
# <dir>/name.cpp, <dir>/name_test.cpp and a row `name` in the docs table exist, and writes the source that
# hands every entry's maker to the registry. A missing piece stops the build with its name.
#
#   smidgen_registry(methods METHOD docs/methods.md)
#     reads    smidgen/methods/methods.list
#     calls    std::unique_ptr<const Method> make_lora_method();       declared in smidgen/methods/registry.h
#     defines  void register_all(Registry<Method>&);
function(smidgen_registry dir kind docs)
  get_filename_component(leaf ${dir} NAME)
  string(REGEX REPLACE "/.*" "" room ${dir})
  string(TOLOWER ${kind} entry)
  # The entry's C++ type is the kind in Pascal case: WEIGHT_FORMAT is class WeightFormat.
  set(type "")
  string(REPLACE "_" ";" words ${entry})
  foreach(word ${words})
    string(SUBSTRING ${word} 0 1 first)
    string(SUBSTRING ${word} 1 -1 rest)
    string(TOUPPER ${first} first)
    string(APPEND type ${first}${rest})
  endforeach()
  set(list ${CMAKE_SOURCE_DIR}/smidgen/${dir}/${leaf}.list)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list} ${CMAKE_SOURCE_DIR}/${docs})
  file(STRINGS ${list} names REGEX "^[a-z]")
  file(READ ${CMAKE_SOURCE_DIR}/${docs} rows)
  set(declare "")
  set(call "")
  foreach(name ${names})
    foreach(file ${name}.cpp ${name}_test.cpp)
      if(NOT EXISTS ${CMAKE_SOURCE_DIR}/smidgen/${dir}/${file})
        message(FATAL_ERROR "${leaf}.list names `${name}`, but smidgen/${dir}/${file} is missing")
      endif()
    endforeach()
    if(NOT rows MATCHES "\n\\| `${name}`")
      message(FATAL_ERROR "${leaf}.list names `${name}`, but ${docs} has no row that starts with | `${name}`")
    endif()
    string(APPEND declare "std::unique_ptr<const ${type}> make_${name}_${entry}();\n")
    string(APPEND call "  registry.add(\"${name}\", make_${name}_${entry}());\n")
  endforeach()
  set(out ${CMAKE_BINARY_DIR}/generated/${dir}/register_all.cpp)
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
"// Written by cmake/Registry.cmake from smidgen/${dir}/${leaf}.list.
#include \"smidgen/${dir}/registry.h\"

namespace smidgen {
${declare}
void register_all(Registry<${type}>& registry) {
${call}}
}  // namespace smidgen
")
  # GCC 12 sees a copy of 32 bytes leave a std::string of 32 (GCC bug 105329).
  set_source_files_properties(${out} PROPERTIES COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-stringop-overread>")
  set_property(GLOBAL APPEND PROPERTY SMIDGEN_GENERATED_${room} ${out})
endfunction()
