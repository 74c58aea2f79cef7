#include "smidgen/cli/core/compare_page.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "smidgen/report/heat_map.h"
#include "smidgen/report/html.h"
#include "smidgen/report/svg.h"

namespace smidgen {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

std::string figure(const std::string& title, const std::string& svg) {
  return "<figure><figcaption>" + escape_html(title) + "</figcaption>\n" + svg + "</figure>\n";
}

std::string curves(const Comparison& c, size_t pair) {
  const CompareTotal::Pair& sums = c.all.pairs[pair];
  Series overlap{.name = "overlap"}, random{.name = "random"};
  for (size_t i = 0; i < c.energies.size(); ++i) {
    overlap.points.push_back({c.energies[i], sums.overlap[i]});
    random.points.push_back({c.energies[i], sums.random[i]});
  }
  const Chart chart{.title = "Overlap by energy, mean over matrices",
                    .x_label = "share of the energy",
                    .y_label = "overlap",
                    .lines = {{overlap, false, true}, {random, false, true}},
                    .y_from_zero = true,
                    .width = 972,
                    .height = 300};
  return figure(chart.title, line_chart(chart));
}

// What a tensor of a block is called in every block: "self_attn.q_proj".
std::string module_of(const CompareRow& row) {
  std::string name = row.name.substr(std::min(row.name.size(), row.block.size()));
  if (name.starts_with(".") || name.starts_with(" ")) name.erase(0, 1);
  const std::string ending = ".weight";
  if (name.ends_with(ending)) name.resize(name.size() - ending.size());
  return name.empty() ? row.name : name;
}

// Blocks by modules, how far above what chance gives.
std::string blocks_map(const Comparison& c, size_t pair, size_t energy) {
  HeatMap map{.title = str("Overlap above random at energy ", format_number(c.energies[energy]))};
  const auto place = [](std::vector<std::string>& names, const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    names.push_back(name);
    return names.size() - 1;
  };
  for (const CompareRow& row : c.rows) {
    if (row.pairs[pair].overlaps.empty()) continue;
    const size_t r = place(map.rows, row.block.empty() ? row.name : row.block);
    const size_t col = place(map.columns, row.block.empty() ? "other" : module_of(row));
    map.values.resize(map.rows.size());
    if (map.values[r].size() <= col) map.values[r].resize(col + 1, kNothing);
    map.values[r][col] =
        row.pairs[pair].overlaps[energy].value - row.pairs[pair].overlaps[energy].random;
  }
  if (map.rows.empty()) return "";
  for (auto& values : map.values) values.resize(map.columns.size(), kNothing);
  for (std::string& column : map.columns) {
    if (const size_t dot = column.rfind('.'); dot != std::string::npos) column.erase(0, dot + 1);
  }
  return figure(map.title, heat_map(map));
}

std::string table(const Comparison& c, size_t pair, size_t energy) {
  const auto& [a, b] = c.pairs[pair];
  std::vector<std::vector<std::string>> rows;
  const auto figure_of = [](const std::optional<double>& value) {
    return value ? format_number(*value) : std::string("\u2013");
  };
  for (const CompareRow& row : c.rows) {
    const PairSums& sums = row.pairs[pair];
    if (row.squares[a] == 0 && row.squares[b] == 0) continue;
    const bool has = !sums.overlaps.empty();
    rows.push_back(
        {"<code>" + visible_html(row.name) + "</code>", format_number(std::sqrt(row.squares[a])),
         format_number(std::sqrt(row.squares[b])),
         figure_of(cosine(sums.dot, row.squares[a], row.squares[b])),
         sums.both ? format_number(static_cast<double>(sums.agree) / static_cast<double>(sums.both))
                   : "\u2013",
         has ? str(sums.overlaps[energy].k1, ", ", sums.overlaps[energy].k2) : "\u2013",
         has ? format_number(sums.overlaps[energy].value) : "\u2013",
         has ? format_number(sums.overlaps[energy].random) : "\u2013"});
  }
  return str("<details class=\"part\"><summary>", rows.size(), " tensors, at energy ",
             format_number(c.energies[energy]), "</summary>\n",
             html_table({{"Tensor"},
                         {"Norm A", true},
                         {"Norm B", true},
                         {"Cosine", true},
                         {"Same sign", true},
                         {"Ranks", true},
                         {"Overlap", true},
                         {"Random", true}},
                        rows),
             "</details>\n");
}

}  // namespace

std::string compare_page(const Comparison& c, const std::string& base) {
  size_t half = 0;
  for (size_t i = 1; i < c.energies.size(); ++i) {
    if (std::abs(c.energies[i] - 0.5) < std::abs(c.energies[half] - 0.5)) half = i;
  }
  std::string body =
      "<p class=\"note\">Differences from " + visible_html(base) +
      ". The overlap of two updates is \u2016Q<sub>A</sub>\u1d40Q<sub>B</sub>\u2016\u00b2 / "
      "min(k), of the output directions that hold a share of each one's energy; "
      "independent random subspaces of m dimensions give max(k) / m.</p>\n";
  for (size_t pair = 0; pair < c.pairs.size(); ++pair) {
    const auto& [a, b] = c.pairs[pair];
    const auto angle = cosine(c.all.pairs[pair].dot, c.all.squares[a], c.all.squares[b]);
    body += "<h2>" + visible_html(c.labels[a]) + " and " + visible_html(c.labels[b]) + "</h2>\n";
    body += str("<dl class=\"facts\">\n<div><dt>norm A</dt><dd>",
                format_number(std::sqrt(c.all.squares[a])), "</dd></div>\n<div><dt>norm B</dt><dd>",
                format_number(std::sqrt(c.all.squares[b])), "</dd></div>\n<div><dt>cosine</dt><dd>",
                angle ? format_number(*angle) : "none", "</dd></div>\n</dl>\n");
    body += curves(c, pair) + blocks_map(c, pair, half) + table(c, pair, half);
  }
  return html_page("Comparison of updates", body);
}

std::string activation_page(const std::vector<ActivationComparison>& models) {
  std::string body =
      "<p class=\"note\">Hidden states of the last token of each prompt. The overlap of two sets "
      "is "
      "\u2016Q<sub>A</sub>\u1d40Q<sub>B</sub>\u2016\u00b2 / min(k), of the directions that hold a "
      "share of each one's energy; independent random subspaces of a stream of width d give "
      "max(k) / d.</p>\n";
  for (const ActivationComparison& c : models) {
    body += "<h2>" + visible_html(c.model) + "</h2>\n<dl class=\"facts\">\n";
    for (size_t i = 0; i < c.files.size(); ++i)
      body += str("<div><dt>", i ? "B" : "A", "</dt><dd>", visible_html(c.files[i]), ", ",
                  counted(c.counts[i], "prompt"), "</dd></div>\n");
    body += "</dl>\n";
    HeatMap map{.title = "Overlap above random, by hidden state and energy"};
    std::vector<std::vector<std::string>> rows;
    for (const Overlap& overlap : c.layers.front().overlaps)
      map.columns.push_back(format_number(overlap.eta));
    for (const ActivationLayer& layer : c.layers) {
      map.rows.push_back(std::to_string(layer.layer));
      map.values.emplace_back();
      for (const Overlap& o : layer.overlaps) {
        map.values.back().push_back(o.value - o.random);
        rows.push_back({map.rows.back(), format_number(layer.norm_a), format_number(layer.norm_b),
                        format_number(o.eta), str(o.k1, ", ", o.k2), format_number(o.value),
                        format_number(o.random)});
      }
    }
    body += figure(map.title, heat_map(map)) + html_table({{"Hidden state", true},
                                                           {"Norm A", true},
                                                           {"Norm B", true},
                                                           {"Energy", true},
                                                           {"Ranks", true},
                                                           {"Overlap", true},
                                                           {"Random", true}},
                                                          rows);
  }
  return html_page("Comparison of hidden states", body);
}

}  // namespace smidgen
