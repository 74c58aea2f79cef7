// RUN/report.json and RUN/metrics.jsonl, in and out.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/report/run_report.h"

namespace smidgen {

namespace {

constexpr int kVersion = 1;

// Reads one object and refuses what it does not know: a misspelt key would be a part missing from
// the report.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) fail(std::string("expected an object, found ") + object_.type_name());
  }

  template <class Value>
  void get(const char* key, Value& value) {
    known_.push_back(key);
    const auto it = object_.find(key);
    if (it == object_.end()) return;
    try {
      if constexpr (std::is_same_v<Value, double>) {
        value = it->is_null() ? NAN : it->template get<double>();  // JSON has no NaN
      } else {
        value = it->template get<Value>();
      }
    } catch (const Json::exception&) {
      fail(str("'", key, "' has the wrong type: ", it->type_name()));
    }
  }

  // Rows of objects, each read by `read(Reader&, Row&)`.
  template <class Row, class Read>
  void rows(const char* key, std::vector<Row>& rows, Read read) {
    known_.push_back(key);
    const auto it = object_.find(key);
    if (it == object_.end()) return;
    read_rows(*it, str(where_, ": ", key), rows, read);
  }

  template <class Row, class Read>
  static void read_rows(const Json& list, const std::string& where, std::vector<Row>& rows,
                        Read read) {
    if (!list.is_array())
      throw Error(ErrorKind::format, str("expected a list, found ", list.type_name()), where);
    for (size_t i = 0; i < list.size(); ++i) {
      Reader reader(list[i], str(where, "[", i, "]"));
      read(reader, rows.emplace_back());
      reader.finish();
    }
  }

  const Json* part(const char* key) {
    known_.push_back(key);
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  void finish() const {
    for (const auto& item : object_.items()) {
      if (std::find(known_.begin(), known_.end(), item.key()) == known_.end()) {
        throw Error(ErrorKind::format, str("unknown key '", item.key(), "'"), where_,
                    did_you_mean(item.key(), known_));
      }
    }
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorKind::format, message, where_);
  }
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  std::string where_;
  std::vector<std::string> known_;
};

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

void read_held_out(const Json& value, const std::string& where, RunReport& report) {
  Reader r(value, where);
  HeldOut h;
  r.get("before", h.before);
  r.get("after", h.after);
  r.get("tokens", h.tokens);
  r.get("samples", h.samples);
  double low = NAN, high = NAN;
  r.get("interval_low", low);
  r.get("per_token", h.per_token);
  r.get("metrics_before", h.metrics_before);
  r.get("metrics_after", h.metrics_after);
  r.get("interval_high", high);
  if (std::isfinite(low) && std::isfinite(high)) h.interval_low = low, h.interval_high = high;
  r.finish();
  report.held_out = h;
}

void read_report(const std::string& path, RunReport& report) {
  Json json;
  try {
    json = Json::parse(read_file(path));
  } catch (const Json::parse_error& e) {
    throw Error(ErrorKind::format, "not JSON", str(path, ", byte ", e.byte));
  }
  Reader r(json, path);
  int version = kVersion;
  r.get("version", version);
  if (version != kVersion) {
    throw Error(ErrorKind::unsupported,
                str("version ", version, " of the report; this build reads ", kVersion), path);
  }
  r.get("title", report.title);
  r.get("generated_at", report.generated_at);
  if (const Json* summary = r.part("summary")) {
    if (!summary->is_object()) r.fail("'summary' is not an object");
    report.summary = *summary;
  }
  if (const Json* held_out = r.part("held_out"))
    read_held_out(*held_out, path + ": held_out", report);
  r.rows("recipe", report.recipe, [](Reader& row, RecipeRow& out) {
    row.get("key", out.key);
    row.get("value", out.value);
    row.get("origin", out.origin);
  });
  if (const Json* batch = r.part("first_batch")) {
    if (!batch->is_array()) r.fail("'first_batch' is not a list");
    for (size_t i = 0; i < batch->size(); ++i) {
      Reader::read_rows((*batch)[i], str(path, ": first_batch[", i, "]"),
                        report.first_batch.emplace_back(), [](Reader& row, TokenSpan& out) {
                          row.get("text", out.text);
                          row.get("answer", out.answer);
                          row.get("tokens", out.tokens);
                        });
    }
  }
  r.rows("trainables", report.trainables, [](Reader& row, TrainableRow& out) {
    row.get("name", out.name);
    row.get("shape", out.shape);
    row.get("count", out.count);
    row.get("format", out.format);
    row.get("grad_norm", out.grad_norm);
  });
  r.get("without_gradient", report.without_gradient);
  r.rows("samples", report.samples, [](Reader& row, SampleRow& out) {
    row.get("prompt", out.prompt);
    row.get("before", out.before);
    row.get("after", out.after);
    row.get("reference", out.reference);
  });
  r.rows("environment", report.environment, [](Reader& row, FactRow& out) {
    row.get("key", out.key);
    row.get("value", out.value);
  });
  r.get("warnings", report.warnings);
  r.finish();
}

// The curves of one metrics file, by key.
struct Curve {
  const char* key;
  const char* name;
  std::vector<Series> RunReport::* chart;
  std::vector<Point> points;
};

void read_metrics(const std::string& path, RunReport& report) {
  const std::string text = read_file(path);
  Curve curves[] = {{"loss", "training", &RunReport::loss, {}},
                    {"eval_loss", "held-out", &RunReport::eval_loss, {}},
                    {"rewards/chosen", "chosen", &RunReport::rewards, {}},
                    {"rewards/rejected", "rejected", &RunReport::rewards, {}},
                    {"lr", "learning rate", &RunReport::learning_rate, {}},
                    {"tokens_per_s", "tokens per second", &RunReport::tokens_per_second, {}},
                    {"peak_mb", "peak memory", &RunReport::memory, {}}};
  size_t line = 0;
  for (size_t at = 0; at < text.size();) {
    ++line;
    const size_t end = text.find('\n', at);
    const std::string_view row(text.data() + at,
                               (end == std::string::npos ? text.size() : end) - at);
    at = end == std::string::npos ? text.size() : end + 1;
    if (row.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    const Json json = Json::parse(row, nullptr, false);
    if (json.is_discarded() && end == std::string::npos) {
      report.warnings.push_back(
          str("the last line of metrics.jsonl is cut short (line ", line, ") and left out"));
      break;
    }
    const std::string where = str(path, ", line ", line);
    if (!json.is_object()) throw Error(ErrorKind::format, "expected a JSON object", where);
    const auto step = json.find("step");
    if (step == json.end() || !step->is_number())
      throw Error(ErrorKind::format, "no number 'step'", where);
    for (Curve& curve : curves) {
      const auto it = json.find(curve.key);
      if (it == json.end()) continue;
      if (!it->is_number() && !it->is_null())
        throw Error(ErrorKind::format, str("'", curve.key, "' is not a number"), where);
      curve.points.push_back({step->get<double>(), it->is_null() ? NAN : it->get<double>()});
    }
  }
  for (Curve& curve : curves) {
    if (!curve.points.empty())
      (report.*curve.chart).push_back({curve.name, std::move(curve.points)});
  }
}

}  // namespace

std::string report_json(const RunReport& report) {
  Json json{{"version", kVersion},
            {"title", report.title},
            {"generated_at", report.generated_at},
            {"summary", report.summary}};
  if (const auto& h = report.held_out) {
    json["held_out"] = {{"before", number(h->before)},
                        {"after", number(h->after)},
                        {"tokens", h->tokens},
                        {"samples", h->samples}};
    if (!h->per_token) json["held_out"]["per_token"] = false;
    if (!h->metrics_before.empty()) json["held_out"]["metrics_before"] = h->metrics_before;
    if (!h->metrics_after.empty()) json["held_out"]["metrics_after"] = h->metrics_after;
    if (h->interval_low) json["held_out"]["interval_low"] = number(*h->interval_low);
    if (h->interval_high) json["held_out"]["interval_high"] = number(*h->interval_high);
  }
  Json& recipe = json["recipe"] = Json::array();
  for (const RecipeRow& r : report.recipe)
    recipe.push_back({{"key", r.key}, {"value", r.value}, {"origin", r.origin}});
  Json& batch = json["first_batch"] = Json::array();
  for (const auto& spans : report.first_batch) {
    // Spans of one kind are joined here too, or a character split between two tokens would be lost.
    Json rows = Json::array();
    for (size_t i = 0; i < spans.size(); ++i) {
      TokenSpan run = spans[i];
      while (i + 1 < spans.size() && spans[i + 1].answer == run.answer) {
        run.text += spans[++i].text;
        run.tokens += spans[i].tokens;
      }
      rows.push_back({{"text", run.text}, {"answer", run.answer}, {"tokens", run.tokens}});
    }
    batch.push_back(std::move(rows));
  }
  Json& trainables = json["trainables"] = Json::array();
  for (const TrainableRow& t : report.trainables) {
    trainables.push_back({{"name", t.name},
                          {"shape", t.shape},
                          {"count", t.count},
                          {"format", t.format},
                          {"grad_norm", number(t.grad_norm)}});
  }
  json["without_gradient"] = report.without_gradient;
  Json& samples = json["samples"] = Json::array();
  for (const SampleRow& s : report.samples) {
    samples.push_back({{"prompt", s.prompt},
                       {"before", s.before},
                       {"after", s.after},
                       {"reference", s.reference}});
  }
  Json& environment = json["environment"] = Json::array();
  for (const FactRow& f : report.environment)
    environment.push_back({{"key", f.key}, {"value", f.value}});
  json["warnings"] = report.warnings;
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

RunReport from_run_folder(const std::string& folder) {
  RunReport report;
  const std::string metrics = folder + "/metrics.jsonl", parts = folder + "/report.json";
  if (!fs::exists(metrics)) {
    throw Error(ErrorKind::not_found, "no metrics.jsonl: this is not the folder of a run", folder);
  }
  if (fs::exists(parts)) {
    read_report(parts, report);
  } else {
    report.warnings.push_back("report.json is missing: only the curves can be shown");
  }
  read_metrics(metrics, report);
  if (report.title.empty()) report.title = fs::path(folder).filename().string();
  return report;
}

}  // namespace smidgen
