// Model folders: config.json, index, shards and the small JSON files beside them, from one archive.
#include "smidgen/io/model_files.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace smidgen;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fuzz::Folder folder;
  folder.unpack(fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const ModelFiles model = open_model(folder.path().string());
    for (const std::string& name : model.tensors->names())
      (void)model.tensors->view(name).elements();
    fuzz::require(model.digest().size() == 64, "a digest is 64 digits");
    fuzz::accepted([&] { (void)load_chat_template(model); });
    fuzz::accepted([&] {
      const auto tokenizer = load_tokenizer(model);
      (void)stop_tokens(model, *tokenizer);
      (void)template_variables(*tokenizer);
    });
  });
  return 0;
}
