// Chat templates: a subset of Jinja that renders as jinja2 does in the sandbox of transformers
// (trim_blocks, lstrip_blocks, loop controls, {% generation %}, tojson without HTML escapes,
// raise_exception, strftime_now, namespace, dict). Templates are untrusted input: depth, steps and
// output are limited, and there is nothing in reach of a template but its variables.
//
// What is understood, and what is refused or differs, construct by construct: docs/formats.md.
// Anything else is an Error `unsupported` that names the construct and the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

struct ModelFiles;
class Tokenizer;

struct TextSpan {
  size_t begin = 0, end = 0;  // bytes
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> answers;  // in order, disjoint
};

struct TemplateLimits {
  int depth = 200;                   // nesting of expressions and blocks in the source
  int64_t steps = 20'000'000;        // evaluated nodes and loop turns
  size_t output = size_t{64} << 20;  // bytes written, and bytes of any one string
};

class ChatTemplate {
 public:
  // Parses. Throws `format` (syntax) or `unsupported` with `name` and the line.
  explicit ChatTemplate(std::string source, std::string name = "chat template",
                        TemplateLimits limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // `messages` is a list of objects; `variables` an object: bos_token, eos_token, tools,
  // add_generation_prompt and whatever the template knows. raise_exception(m) in the template:
  // Error data with m.
  std::string render(const Json& messages, const Json& variables) const;

  // The conversation without a generation prompt, and where the assistant's answers lie in it: what
  // {% generation %} marks, else, for each assistant message k, from the end of
  // render(messages[0..k), add_generation_prompt) to the end of render(messages[0..k]). The span
  // holds the template's end of turn. Both renderings must be prefixes of the whole; a template for
  // which they are not (it rewrites earlier turns) is an Error `unsupported` that says so.
  RenderedChat render_with_spans(const Json& messages, const Json& variables) const;

  // Used in place of this one when a conversation comes with tools, as transformers uses the
  // template "tool_use".
  void use_with_tools(std::shared_ptr<const ChatTemplate> other) { with_tools_ = std::move(other); }

  const std::string& source() const;
  // Everything that decides a rendering: for keys of caches.
  std::string sources() const;
  const std::string& name() const;

 private:
  struct Program;
  const Program& program(const Json& variables) const;

  std::unique_ptr<const Program> program_;
  std::shared_ptr<const ChatTemplate> with_tools_;
};

// The model's template; null when it has none. Of several: the one of that name, else "tool_use"
// where tools are given and "default" otherwise. Throws usage for a name that the model does not
// have.
std::shared_ptr<const ChatTemplate> load_chat_template(const ModelFiles& files,
                                                       const std::string& name = {});

// All the model has, one alone as "default": names and sources.
using NamedTemplates = std::vector<std::pair<std::string, std::string>>;
NamedTemplates named_templates(const ModelFiles& files);

// {"bos_token": ..., "eos_token": ..., ...}: what transformers hands to a template of this
// tokenizer.
Json template_variables(const Tokenizer& tokenizer);

}  // namespace smidgen
