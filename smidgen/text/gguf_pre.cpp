#include "smidgen/text/gguf_pre.h"

#include <algorithm>

#include "smidgen/text/scanner.h"

namespace smidgen {
namespace {

Json byte_level(bool words) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", words}};
}

Json sequence(std::vector<Json> steps) {
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// One pattern after the other, then the bytes.
Json splits(const std::vector<std::string>& patterns) {
  std::vector<Json> steps;
  for (const std::string& pattern : patterns)
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back(byte_level(false));
  return sequence(steps);
}

Json digits_alone() {
  return sequence({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)});
}

// GPT-4o's words: letters cut where upper case follows lower case, contractions at their end.
std::string cased_words(const std::string& contractions, const std::string& digits) {
  const std::string upper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])",
                    lower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])", first = R"([^\r\n\p{L}\p{N}]?)";
  return first + upper + "*" + lower + "+" + contractions + "|" + first + upper + "+" + lower + "*" +
         contractions + "|" + digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

constexpr const char* kAnyCaseContractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";

// Letters with case, as DeepSeek's pattern lists them. Those that Unicode's NFC would replace are
// written as numbers, so that no editor changes them.
constexpr const char* kCasedLetters =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ\x{1f5f}-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr const char* kIdeographs = "[一-龥ࠀ-一가-퟿]+";
constexpr const char* kWordsWithoutSigns = R"( ?[^(\s|.,!?…。，、।۔،)]+)";

std::vector<GgufPre> build() {
  const Json nfc = {{"type", "NFC"}};
  return {
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
       nullptr,
       digits_alone()},
      {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "jina-es", "jina-de",
        "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code", "roberta-bpe", "gigachat",
        "a.x-4.0", "mellum", "modern-bert", "exaone4"},
       nullptr,
       byte_level(true)},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       nullptr,
       splits({kLlama3Words}),
       true,
       true},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, nullptr, splits({kLlama3Words})},
      {{"qwen2", "deepseek-r1-qwen"}, nfc, splits({kQwen2Words})},
      {{"stablelm2", "hunyuan", "solar-open", "grok-2", "megrez"}, nullptr, splits({kQwen2Words})},
      {{"qwen35"},
       nullptr,
       splits({R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"})},
      {{"deepseek-llm"},
       nullptr,
       splits({"[\r\n]", kCasedLetters, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)", kIdeographs,
               R"(\p{N}+)"})},
      {{"deepseek-coder"},
       nullptr,
       splits({"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kIdeographs, R"(\p{N})"})},
      {{"deepseek-v3", "hunyuan-dense", "joyai-llm"},
       nullptr,
       splits({R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+",
               R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"})},
      {{"falcon"},
       nullptr,
       splits({R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Words, "[0-9][0-9][0-9]"})},
      {{"tekken"}, nullptr, splits({cased_words("", R"(\p{N})")}), true, true},
      {{"gpt-4o", "llama4", "kanana2"},
       nullptr,
       splits({cased_words(kAnyCaseContractions, R"(\p{N}{1,3})")})},
      {{"bloom", "gpt3-finnish", "poro-chat"}, nullptr, splits({kWordsWithoutSigns})},
      {{"viking"}, nullptr, splits({kWordsWithoutSigns, R"(\p{N})"})},
      {{"superbpe"}, nullptr, splits({R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"})},
      {{"bailingmoe", "bailingmoe2", "llada-moe"},
       nullptr,
       splits({R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"})},
      {{"seed-coder"},
       nullptr,
       splits({R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"})},
  };
}

}  // namespace

const std::vector<GgufPre>& gguf_pre_tokenizers() {
  static const std::vector<GgufPre> all = build();
  return all;
}

const GgufPre* find_gguf_pre(const std::string& word) {
  for (const GgufPre& pre : gguf_pre_tokenizers()) {
    if (std::find(pre.words.begin(), pre.words.end(), word) != pre.words.end()) return &pre;
  }
  return nullptr;
}

}  // namespace smidgen
