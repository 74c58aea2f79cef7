#include "smidgen/text/chat_template_choice.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/chat_template.h"

namespace smidgen {
namespace {

constexpr const char* kAlpaca = R"({%- for message in messages %}
  {%- if message.role == 'system' %}
    {{- message.content | trim ~ '\n\n' }}
  {%- elif message.role == 'user' %}
    {{- '### Instruction:\n' ~ message.content | trim ~ '\n\n' }}
  {%- elif message.role == 'user_context' %}
    {{- '### Input:\n' ~ message.content | trim ~ '\n\n' }}
  {%- elif message.role == 'assistant' %}
    {{- '### Response:\n' ~ message.content | trim ~ eos_token ~ '\n\n' }}
  {%- else %}
    {{- raise_exception('alpaca has no role ' ~ message.role) }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '### Response:\n' }}
{%- endif %}
)";

constexpr const char* kChatml = R"({%- for message in messages %}
  {{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\n' }}
{%- endif %}
)";

constexpr const char* kExaone = R"({%- for message in messages %}
  {%- if loop.first and message.role != 'system' %}
    {{- '[|system|][|endofturn|]\n' }}
  {%- endif %}
  {{- '[|' ~ message.role ~ '|]' ~ message.content }}
  {{- '\n' if message.role == 'user' else '[|endofturn|]\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '[|assistant|]' }}
{%- endif %}
)";

constexpr const char* kLlama3 = R"({{- bos_token }}
{%- for message in messages %}
  {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}
  {{- message.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
)";

constexpr const char* kMistral = R"({{- bos_token }}
{%- set turn = namespace(before='', of='user') %}
{%- for message in messages %}
  {%- if message.role == 'system' and loop.first %}
    {%- set turn.before = message.content ~ '\n\n' %}
  {%- elif message.role != turn.of %}
    {{- raise_exception('user and assistant must take turns, the user first, after at most one system message') }}
  {%- elif message.role == 'user' %}
    {{- ' [INST] ' ~ turn.before ~ message.content ~ ' [/INST]' }}
    {%- set turn.before = '' %}
    {%- set turn.of = 'assistant' %}
  {%- else %}
    {{- ' ' ~ message.content ~ eos_token }}
    {%- set turn.of = 'user' %}
  {%- endif %}
{%- endfor %}
)";

std::string stripped(const std::string& text) {
  constexpr const char* kSpace = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::optional<std::string> most_frequent(const std::vector<std::string>& inputs) {
  std::vector<std::pair<std::string, int>> counts;  // in the order of the inputs
  for (const std::string& input : inputs) {
    const std::string source = stripped(input);
    if (source.empty()) continue;
    const auto at = std::find_if(counts.begin(), counts.end(),
                                 [&](const auto& count) { return count.first == source; });
    if (at == counts.end()) {
      counts.emplace_back(source, 1);
    } else {
      ++at->second;
    }
  }
  const auto best =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (best == counts.end()) return {};
  return best->first;
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& built_in_chat_templates() {
  static const std::vector<std::pair<std::string, std::string>> all = {{"alpaca", kAlpaca},
                                                                       {"chatml", kChatml},
                                                                       {"exaone", kExaone},
                                                                       {"llama3", kLlama3},
                                                                       {"mistral", kMistral}};
  return all;
}

std::optional<std::string> choose_chat_template(const std::string& setting,
                                                const std::vector<std::string>& inputs) {
  if (setting == "auto") return most_frequent(inputs);
  std::vector<std::string> names = {"auto"};
  for (const auto& [name, source] : built_in_chat_templates()) {
    if (name == setting) return source;
    names.push_back(name);
  }
  if (setting.size() < 20 || setting.find('{') == std::string::npos)
    throw Error(ErrorKind::usage, str("'", setting, "' is no chat template"), "chat_template",
                did_you_mean(setting, names, str("a Jinja template, or one of ", join(names))));
  try {
    const ChatTemplate parsed(setting, "chat_template");
  } catch (const Error& error) {
    // Whoever loads the model may know more of Jinja than is known here.
    if (error.kind() != ErrorKind::unsupported) throw;
  }
  return setting;
}

}  // namespace smidgen
