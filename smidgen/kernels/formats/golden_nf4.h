// Written by scripts/golden/nf4.py; do not edit.
#pragma once

#include <cstdint>

namespace smidgen::golden {

struct Nf4Digest {
  int64_t rows, columns;
  const char* sha256;
};

inline constexpr Nf4Digest kNf4[] = {
    {96, 128, "dae2b00e8893c0071d539c22c0581b38038a2eb3987d6461ae95d2e07eb7c14d"},
    {40, 1000, "321fc036025999950811261351fd19bf48ec6528c772a249ddfa90a18ed3c4a2"},
    {7, 37, "71fe6f34c06027f49a96d31b8728b58794fb6f9d08cd34fa1091f806cda3af10"},
    {1, 5, "1b6b6c7624a192b514c17fe9f1f76d97ff9b65fd481ef9a2e88aa7223723012d"},
    {520, 576, "2eb88941bd2d8a3e4b96baf04fa64e23271aca44cf5c44276e9f34f1a9894111"},
};

}  // namespace smidgen::golden
