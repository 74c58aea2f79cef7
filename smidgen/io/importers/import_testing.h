// Recipes of other tools as text, for the importers' tests.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "smidgen/base/fs.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/importers/registry.h"

namespace smidgen {

class ImportTest : public testing::Test {
 protected:
  // `document` stands for what the build's tune verb knows.
  Imported read(const std::string& yaml, const std::string& from = {},
                const Json& document = Json::object()) {
    write_file(folder_.path() / "theirs.yaml", yaml);
    return import_recipe((folder_.path() / "theirs.yaml").string(), from, document);
  }

  static const ImportSetting* find(const Imported& imported, const std::string& path) {
    for (const ImportSetting& setting : imported.settings) {
      if (setting.path == path) return &setting;
    }
    return nullptr;
  }
  static Json value(const Imported& imported, const std::string& path) {
    const ImportSetting* setting = find(imported, path);
    return setting ? setting->value : Json("absent");
  }
  // The remark on a key; null when there is none.
  static const ImportRemark* remark(const Imported& imported, const std::string& key) {
    for (const ImportRemark& remark : imported.remarks) {
      if (remark.key == key) return &remark;
    }
    return nullptr;
  }
  static void expect(const Imported& imported, const std::string& key, Fate fate,
                     const std::string& part) {
    const ImportRemark* found = remark(imported, key);
    ASSERT_TRUE(found) << key;
    EXPECT_EQ(to_string(found->fate), std::string(to_string(fate))) << key << ": " << found->words;
    EXPECT_NE(found->words.find(part), std::string::npos) << key << ": " << found->words;
  }

  TemporaryFolder folder_;
};

}  // namespace smidgen
