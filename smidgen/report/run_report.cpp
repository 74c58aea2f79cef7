#include "smidgen/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smidgen/base/str.h"
#include "smidgen/report/html.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

constexpr size_t kOpenRows = 12;  // a longer table waits behind <details>

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "not finite";
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, std::abs(value));
  return std::string(value < 0 ? "\u2212" : "") + text;
}

// 1234567 -> "1,234,567".
std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  const size_t sign = value < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > sign + 3;) digits.insert(i -= 3, ",");
  return digits;
}

std::string plural(size_t count, const std::string& noun) {
  return grouped(static_cast<int64_t>(count)) + " " + noun + (count == 1 ? "" : "s");
}

std::string fact(const Json& value) {
  if (value.is_string()) return visible_html(value.get_ref<const std::string&>());
  if (value.is_number_integer()) return grouped(value.get<int64_t>());
  if (value.is_number_float()) return format_number(value.get<double>(), 5);
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "<span class=\"none\">none</span>";
  return visible_html(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string arrow(const std::string& from, const std::string& to) {
  return "<strong>" + from + " <i>\u2192</i> " + to + "</strong>";
}

// Loss falls from the first to the last evaluation; a run that measured both ends apart says so in
// held_out.
std::optional<HeldOut> headline_of(const RunReport& report) {
  if (report.held_out) return report.held_out;
  if (report.eval_loss.empty() || report.eval_loss.front().points.size() < 2) return std::nullopt;
  const auto& points = report.eval_loss.front().points;
  return HeldOut{.before = points.front().y, .after = points.back().y};
}

std::string headline(const RunReport& report) {
  const std::optional<HeldOut> h = headline_of(report);
  if (!h) return "<p class=\"note\">No held-out data was evaluated in this run.</p>\n";
  const double change = (h->after - h->before) / h->before * 100;
  const bool known = std::isfinite(change);
  std::string out = "<div class=\"headline\">\n<div><span>Held-out loss</span>" +
                    arrow(fixed(h->before, 3), fixed(h->after, 3)) + "</div>\n";
  const auto tile = [&](const char* name, const std::string& from, const std::string& to) {
    out += str("<div><span>", name, "</span>", arrow(from, to), "</div>\n");
  };
  if (h->per_token)
    tile("Perplexity", format_number(std::exp(h->before)), format_number(std::exp(h->after)));
  const auto metric = [&](const char* key, const char* name, double scale) {
    const auto from = h->metrics_before.find(key), to = h->metrics_after.find(key);
    if (from != h->metrics_before.end() && to != h->metrics_after.end())
      tile(name, format_number(from->second * scale, 3), format_number(to->second * scale, 3));
  };
  metric("rewards/margins", "Reward margin", 1);
  metric("rewards/accuracies", "Chosen preferred, %", 100);
  if (known) {
    out +=
        str("<div><span>Change of the loss</span><strong class=\"", change < 0 ? "good" : "bad",
            "\">", change < 0 ? "\u2212" : "+", fixed(std::abs(change), 1), " %</strong></div>\n");
  }
  out += str("</div>\n<p class=\"note\">",
             h->per_token ? "Nats per answer token" : "The run's loss", ", before and after");
  if (h->tokens && h->per_token) out += ", over " + grouped(h->tokens) + " tokens";
  if (h->samples)
    out += (h->per_token ? " of " : ", over ") + plural(static_cast<size_t>(h->samples), "sample");
  out += ".";
  if (h->interval_low && h->interval_high) {
    const bool excludes = *h->interval_low > 0 || *h->interval_high < 0;
    out += str(" Difference per sample, 95 % bootstrap interval: ", fixed(*h->interval_low, 3),
               " to ", fixed(*h->interval_high, 3), excludes ? "." : ", which includes no change.");
  }
  return out + "</p>\n";
}

std::string warnings(const RunReport& report) {
  std::vector<std::string> all = report.warnings;
  const auto check = [&](const std::vector<Series>& series) {
    for (const Series& s : series) {
      if (const size_t bad = count_not_finite(s.points))
        all.push_back(str(s.name, ": ", plural(bad, "point"), " not finite"));
    }
  };
  for (const auto* series : {&report.loss, &report.eval_loss, &report.rewards,
                             &report.learning_rate, &report.tokens_per_second, &report.memory}) {
    check(*series);
  }
  if (!report.without_gradient.empty()) {
    all.push_back(plural(report.without_gradient.size(), "trainable tensor") +
                  " had no gradient after the second step");
  }
  if (all.empty()) return "";
  std::string out = "<div class=\"warnings\"><h3>" + plural(all.size(), "warning") + "</h3><ul>\n";
  for (const std::string& warning : all) out += "<li>" + visible_html(warning) + "</li>\n";
  return out + "</ul></div>\n";
}

std::string facts(const Json& summary) {
  if (!summary.is_object() || summary.empty()) return "";
  std::string out = "<dl class=\"facts\">\n";
  for (const auto& [key, value] : summary.items()) {
    out += "<div><dt>" + visible_html(key) + "</dt><dd>" + fact(value) + "</dd></div>\n";
  }
  return out + "</dl>\n";
}

std::vector<ChartLine> plain(const std::vector<Series>& series, bool smooth = false) {
  std::vector<ChartLine> lines;
  for (const Series& s : series) lines.push_back({s, smooth, false});
  return lines;
}

std::string figure(const Chart& chart) {
  return "<figure><figcaption>" + escape_html(chart.title) + "</figcaption>\n" + line_chart(chart) +
         "</figure>\n";
}

std::string charts(const RunReport& report) {
  Chart loss{.title = "Loss",
             .x_label = "step",
             .y_label = report.rewards.empty() ? "nats per answer token" : "loss",
             .lines = plain(report.loss, true)};
  for (const Series& s : report.eval_loss) loss.lines.push_back({s, false, true});
  loss.width = 972, loss.height = 340;
  std::string out = "<div class=\"hero wide\">" + figure(loss) + "</div>\n";
  loss.width = 380, loss.height = 270;
  out += "<div class=\"hero narrow\">" + figure(loss) + "</div>\n<div class=\"charts\">\n";
  const auto small = [&](const char* title, const char* unit, const std::vector<Series>& series,
                         bool smooth, bool from_zero = true) {
    if (series.empty()) return;
    out += figure({.title = title,
                   .x_label = "step",
                   .y_label = unit,
                   .lines = plain(series, smooth),
                   .y_from_zero = from_zero,
                   .width = 330,
                   .height = 220});
  };
  small("Rewards", "nats", report.rewards, true, false);
  small("Learning rate", "", report.learning_rate, false);
  small("Speed", "tokens per second", report.tokens_per_second, true);
  small("Memory", "MB", report.memory, false);
  return out + "</div>\n";
}

std::string folded(const std::string& summary, const std::string& body, bool open) {
  return str("<details class=\"part\"", open ? " open" : "", "><summary>", escape_html(summary),
             "</summary>\n", body, "</details>\n");
}

std::string samples(const RunReport& report) {
  if (report.samples.empty()) return "";
  std::string out = "<h2>Before and after</h2>\n";
  for (const SampleRow& s : report.samples) {
    out += "<section class=\"sample\">\n<div><h3>Prompt</h3>" + text_block(s.prompt) +
           "</div>\n<div class=\"pair\">\n";
    out += "<div><h3>Before</h3>" + text_block(s.before, 4000) + "</div>\n<div><h3>After</h3>" +
           text_block(s.after, 4000) + "</div>\n</div>\n";
    if (!s.reference.empty())
      out += "<details><summary>Reference</summary>" + text_block(s.reference, SIZE_MAX) +
             "</details>\n";
    out += "</section>\n";
  }
  return out;
}

// Neighbouring spans of one kind are joined first: a character of several bytes may be split
// between two tokens.
std::string sequence(const std::vector<TokenSpan>& spans) {
  std::string out = "<div class=\"tokens\">", run;
  for (size_t i = 0; i < spans.size(); ++i) {
    run += spans[i].text;
    if (i + 1 < spans.size() && spans[i + 1].answer == spans[i].answer) continue;
    out += spans[i].answer ? "<mark>" + visible_html(run) + "</mark>" : visible_html(run);
    run.clear();
  }
  return out + "</div>";
}

std::string first_batch(const RunReport& report) {
  if (report.first_batch.empty()) return "";
  std::string out =
      "<h2>First batch</h2>\n<p class=\"note\">Decoded from the token ids that the model saw. "
      "<mark>Marked</mark> is "
      "what the loss sees; the rest is context.</p>\n";
  for (size_t i = 0; i < report.first_batch.size(); ++i) {
    int64_t tokens = 0, answers = 0;
    for (const TokenSpan& span : report.first_batch[i]) {
      tokens += span.tokens;
      if (span.answer) answers += span.tokens;
    }
    out += folded(str("Sequence ", i + 1, ": ", grouped(answers), " of ", grouped(tokens),
                      " tokens are learned"),
                  sequence(report.first_batch[i]), i == 0);
  }
  return out;
}

std::string trainables(const RunReport& report) {
  if (report.trainables.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  int64_t total = 0;
  for (const TrainableRow& t : report.trainables) {
    total += t.count;
    rows.push_back({"<code>" + visible_html(t.name) + "</code>",
                    escape_html(join(t.shape, " \u00d7 ")), grouped(t.count),
                    visible_html(t.format), format_number(t.grad_norm, 3)});
  }
  std::string out = "<h2>What is trained</h2>\n";
  if (report.without_gradient.empty()) {
    out += "<p class=\"note\">Every tensor had a gradient after the second step.</p>\n";
  } else {
    std::vector<std::vector<std::string>> missing;
    for (const std::string& name : report.without_gradient)
      missing.push_back({"<code>" + visible_html(name) + "</code>"});
    out += folded(plural(missing.size(), "tensor") + " without gradient after the second step",
                  html_table({{"Tensor"}}, missing), missing.size() <= kOpenRows);
  }
  const std::vector<Column> columns{
      {"Tensor"}, {"Shape", true}, {"Numbers", true}, {"Format"}, {"Gradient norm, step 2", true}};
  return out + folded(plural(rows.size(), "tensor") + ", " + grouped(total) + " numbers",
                      html_table(columns, rows), rows.size() <= kOpenRows);
}

std::string recipe(const RunReport& report) {
  if (report.recipe.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  size_t chosen = 0;
  for (const RecipeRow& r : report.recipe) {
    if (r.origin != "default") ++chosen;
    rows.push_back({"<code>" + visible_html(r.key) + "</code>",
                    "<code>" + visible_html(r.value) + "</code>", visible_html(r.origin)});
  }
  return "<h2>Recipe</h2>\n" + folded(plural(rows.size(), "value") + ", " +
                                          grouped(static_cast<int64_t>(chosen)) + " not by default",
                                      html_table({{"Key"}, {"Value"}, {"Origin"}}, rows),
                                      rows.size() <= kOpenRows);
}

std::string environment(const RunReport& report) {
  if (report.environment.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const FactRow& f : report.environment)
    rows.push_back({visible_html(f.key), visible_html(f.value)});
  return "<h2>Environment</h2>\n" + html_table({{"What"}, {"Value"}}, rows);
}

}  // namespace

std::string render(const RunReport& report) {
  std::string body;
  if (!report.generated_at.empty())
    body += "<p class=\"when\">" + escape_html(report.generated_at) + "</p>\n";
  body += headline(report) + warnings(report) + facts(report.summary) + "<h2>Curves</h2>\n" +
          charts(report);
  body += samples(report) + first_batch(report) + trainables(report) + recipe(report) +
          environment(report);
  return html_page(report.title.empty() ? "Run report" : report.title, body);
}

}  // namespace smidgen
