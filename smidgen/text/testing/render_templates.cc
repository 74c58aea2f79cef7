// Renders many templates in one process, for the comparisons with jinja2: a request per line of
// standard input, {"template", "name"?, "messages"?, "variables"?, "spans"?, "limits"?}, and an
// answer per line of standard output, {"text", "spans"?} or {"error", "kind", "where"}.
#include <iostream>
#include <string>

#include "smidgen/base/error.h"
#include "smidgen/text/chat_template.h"

namespace smidgen {
namespace {

Json answer(const Json& request) {
  try {
    TemplateLimits limits;
    limits.steps = request.value("steps", limits.steps);
    const ChatTemplate chat(request.at("template").get<std::string>(),
                            request.value("name", "template"), limits);
    const Json messages = request.value("messages", Json::array());
    const Json variables = request.value("variables", Json::object());
    if (!request.value("spans", false)) return {{"text", chat.render(messages, variables)}};
    const RenderedChat made = chat.render_with_spans(messages, variables);
    Json spans = Json::array();
    for (const TextSpan& span : made.answers) spans.push_back(Json::array({span.begin, span.end}));
    return {{"text", made.text}, {"spans", spans}};
  } catch (const Error& error) {
    return {{"error", error.message()},
            {"kind", std::string(to_string(error.kind()))},
            {"where", error.where()}};
  }
}

}  // namespace
}  // namespace smidgen

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);)
    std::cout << smidgen::answer(smidgen::Json::parse(line))
                     .dump(-1, ' ', false, smidgen::Json::error_handler_t::replace)
              << '\n'
              << std::flush;
}
