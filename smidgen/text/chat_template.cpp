#include "smidgen/text/chat_template.h"

#include "smidgen/base/error.h"
#include "smidgen/text/template_eval.h"

namespace smidgen {

struct ChatTemplate::Program {
  std::string source, name;
  TemplateLimits limits;
  tmpl::NodePtr body;
  bool marks_answers = false;  // has {% generation %}

  std::string render(const Json& messages, const Json& variables, const bool* prompt,
                     std::vector<TextSpan>* spans) const;
};

namespace {

bool has_generation(const tmpl::Node& node) {
  if (node.kind == tmpl::NodeKind::generation) return true;
  for (const auto& kid : node.kids) {
    if (kid && has_generation(*kid)) return true;
  }
  return false;
}

// transformers fills these names of a message's reasoning from each other, so that a template finds
// it under the one it reads.
Json with_reasoning(const Json& messages) {
  Json out = Json::array();
  for (const Json& message : messages) {
    const Json* found = nullptr;
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      if (found || !message.is_object()) continue;
      const auto item = message.find(name);
      if (item != message.end() && !item->is_null()) found = &*item;
    }
    if (!message.is_object())
      throw Error(ErrorKind::data, str("a message should be an object, not ", message.type_name()));
    if (!found) {
      out.push_back(message);
      continue;
    }
    Json filled = {{"thinking", *found}};
    for (const auto& [key, value] : message.items()) filled[key] = value;
    filled["reasoning_content"] = *found;
    out.push_back(std::move(filled));
  }
  return out;
}

bool is_prefix(const std::string& part, const std::string& whole) {
  return whole.compare(0, part.size(), part) == 0;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, std::string name, TemplateLimits limits) {
  auto program = std::make_unique<Program>();
  program->source = std::move(source);
  program->name = std::move(name);
  program->limits = limits;
  program->body =
      tmpl::parse(tmpl::lex(program->source, program->name), program->name, program->limits);
  program->marks_answers = has_generation(*program->body);
  program_ = std::move(program);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::Program::render(const Json& messages, const Json& variables,
                                          const bool* prompt, std::vector<TextSpan>* spans) const {
  if (!messages.is_array())
    throw Error(ErrorKind::usage, str("messages should be a list, not ", messages.type_name()),
                name);
  if (!variables.is_object() && !variables.is_null())
    throw Error(ErrorKind::usage,
                str("template variables should be an object, not ", variables.type_name()), name);
  tmpl::Named all;
  // transformers always hands over these three, as none when they are not given.
  if (!variables.contains("tools")) all.emplace_back("tools", tmpl::Value::none());
  if (!variables.contains("documents")) all.emplace_back("documents", tmpl::Value::none());
  if (!prompt && !variables.contains("add_generation_prompt"))
    all.emplace_back("add_generation_prompt", tmpl::Value::boolean(false));
  for (const auto& [key, value] : variables.items()) {
    if (!prompt || key != "add_generation_prompt")
      all.emplace_back(key, tmpl::Value::from_json(value));
  }
  if (prompt) all.emplace_back("add_generation_prompt", tmpl::Value::boolean(*prompt));
  all.emplace_back("messages", tmpl::Value::from_json(with_reasoning(messages)));
  tmpl::Renderer renderer(name, limits);
  std::string text = renderer.run(*body, std::move(all));
  if (spans) *spans = renderer.spans();
  return text;
}

const ChatTemplate::Program& ChatTemplate::program(const Json& variables) const {
  const bool tools = with_tools_ && variables.is_object() && variables.contains("tools") &&
                     !variables["tools"].is_null();
  return tools ? *with_tools_->program_ : *program_;
}

std::string ChatTemplate::render(const Json& messages, const Json& variables) const {
  return program(variables).render(messages, variables, nullptr, nullptr);
}

RenderedChat ChatTemplate::render_with_spans(const Json& messages, const Json& variables) const {
  RenderedChat out;
  const Program& chosen = program(variables);
  const bool no = false, yes = true;
  out.text = chosen.render(messages, variables, &no, &out.answers);
  if (chosen.marks_answers) return out;
  out.answers.clear();
  Json before = Json::array();
  for (size_t k = 0; k < messages.size(); ++k) {
    const bool answer = messages[k].is_object() && messages[k].contains("role") &&
                        messages[k]["role"] == "assistant";
    if (answer) {
      const std::string prompt = chosen.render(before, variables, &yes, nullptr);
      before.push_back(messages[k]);
      const std::string whole =
          k + 1 == messages.size() ? out.text : chosen.render(before, variables, &no, nullptr);
      if (!is_prefix(prompt, whole) || !is_prefix(whole, out.text))
        throw Error(
            ErrorKind::unsupported,
            str("where the answer of message ", k,
                " begins and ends cannot be told: the template writes earlier turns "
                "differently once later ones follow, or its generation prompt is not how an answer "
                "begins"),
            chosen.name,
            "mark the answers in the template with {% generation %} ... {% endgeneration %}");
      out.answers.push_back({prompt.size(), whole.size()});
    } else {
      before.push_back(messages[k]);
    }
  }
  return out;
}

const std::string& ChatTemplate::source() const {
  return program_->source;
}
std::string ChatTemplate::sources() const {
  return with_tools_ ? source() + '\0' + with_tools_->source() : source();
}
const std::string& ChatTemplate::name() const {
  return program_->name;
}

}  // namespace smidgen
