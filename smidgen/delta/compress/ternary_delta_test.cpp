#include "smidgen/delta/compress/ternary_delta.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

// Rows that end inside a word, at its end, and that are shorter than one.
TEST(TernaryDelta, EqualsTheExpandedTensor) {
  const TemporaryFolder folder;
  for (const int64_t columns : {1, 5, 63, 64, 65, 128, 200}) {
    constexpr int64_t kRows = 9;
    const Rng rng(3, "signs");
    Signs signs(kRows * columns);
    for (uint64_t i = 0; i < static_cast<uint64_t>(signs.count); ++i) {
      const double draw = rng.uniform(i);
      if (draw < 0.5)
        (draw < 0.25 ? signs.positive : signs.negative)[i / 64] |= uint64_t{1} << (i % 64);
    }
    DeltaContents contents;
    contents.codes = encode_signs(*codecs().find("rice").signs(), signs.view());
    contents.json = {{"version", 1},
                     {"kind", "ternary"},
                     {"of", "model"},
                     {"codec", "rice"},
                     {"base", nullptr},
                     {"scale", 0.5},
                     {"tensors", Json::array({{{"name", "a"},
                                               {"shape", {kRows, columns}},
                                               {"dtype", "f32"},
                                               {"bytes", contents.codes.size()},
                                               {"kept", signs.view().kept()}}})}};
    const fs::path path = folder / str(columns);
    write_delta(path, contents);
    const DeltaFiles files = read_delta(path);
    std::vector<float> values(static_cast<size_t>(signs.count));
    TensorDelta(files, files.tensors[0]).read(0, values);
    const Delta delta = ternary_delta(files, files.tensors[0]);
    EXPECT_TRUE(at::equal(tile(delta, 0, kRows), at::from_blob(values.data(), {kRows, columns})))
        << columns;
    EXPECT_NEAR(norm(delta), 0.5 * std::sqrt(static_cast<double>(signs.view().kept())), 1e-12);
  }
}

}  // namespace
}  // namespace smidgen
