#include "smidgen/train/edit.h"

#include <array>

#include "smidgen/base/error.h"
#include "smidgen/io/json_member.h"

namespace smidgen {

namespace {

constexpr std::array<std::pair<Edit::Kind, const char*>, 5> kKinds = {
    {{Edit::Kind::freeze, "freeze"},
     {Edit::Kind::thaw, "thaw"},
     {Edit::Kind::activate, "activate"},
     {Edit::Kind::grow, "grow"},
     {Edit::Kind::shrink, "shrink"}}};

// More than any rank or table that somebody trains; a log that asks for more is damaged.
constexpr int64_t kMostRows = int64_t{1} << 24;

}  // namespace

Json Edit::to_json() const {
  Json json;
  for (const auto& [value, word] : kKinds) {
    if (value == kind) json["kind"] = word;
  }
  json["parameter"] = parameter;
  if (kind == Kind::activate || kind == Kind::grow) json["rows"] = rows;
  if (kind == Kind::shrink) json["keep"] = keep;
  return json;
}

Edit Edit::from_json(const Json& json, const std::string& where) {
  Edit edit;
  const std::string word = text_member(json, "kind", where);
  bool known = false;
  for (const auto& [value, name] : kKinds) {
    if (word == name) {
      edit.kind = value;
      known = true;
    }
  }
  if (!known) throw Error(ErrorKind::format, str("there is no edit '", word, "'"), where);
  edit.parameter = text_member(json, "parameter", where);
  if (edit.kind == Kind::activate || edit.kind == Kind::grow)
    edit.rows = count_member(json, "rows", where);
  if (edit.kind == Kind::shrink) {
    for (const Json& row : member(json, "keep", where))
      edit.keep.push_back(count_of(row, "a row of \"keep\"", where));
  }
  return edit;
}

void apply(ParamStore& store, const Edit& edit) {
  Parameter& p = store.find(edit.parameter);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::mismatch, why, edit.parameter);
  };
  switch (edit.kind) {
    case Edit::Kind::freeze:
      store.set_frozen(p, true);
      break;
    case Edit::Kind::thaw:
      store.set_frozen(p, false);
      break;
    case Edit::Kind::activate:
      if (edit.rows < 0 || edit.rows > p.rows())
        refuse(str("cannot activate ", edit.rows, " of ", p.rows(), " rows"));
      store.set_active(p, edit.rows);
      break;
    case Edit::Kind::grow: {
      if (edit.rows < 1 || edit.rows > kMostRows - p.rows())
        refuse(str("cannot grow ", p.rows(), " rows by ", edit.rows));
      std::vector<int64_t> keep(static_cast<size_t>(p.rows()));
      for (size_t i = 0; i < keep.size(); ++i) keep[i] = static_cast<int64_t>(i);
      store.reshape_rows(p, keep, edit.rows);
      break;
    }
    case Edit::Kind::shrink:
      for (const int64_t row : edit.keep) {
        if (row < 0 || row >= p.rows()) refuse(str("cannot keep row ", row, " of ", p.rows()));
      }
      store.reshape_rows(p, edit.keep, 0);
      break;
  }
}

void EditLog::record(int64_t step, const std::vector<Edit>& edits) {
  for (const Edit& edit : edits) entries_.push_back({step, edit});
}

void EditLog::replay(ParamStore& store) const {
  for (const Entry& entry : entries_) apply(store, entry.edit);
}

Json EditLog::to_json() const {
  Json list = Json::array();
  for (const Entry& entry : entries_) {
    Json json = {{"step", entry.step}};
    json.update(entry.edit.to_json());
    list.push_back(json);
  }
  return list;
}

EditLog EditLog::from_json(const Json& json, const std::string& where) {
  if (!json.is_array()) throw Error(ErrorKind::format, "the edits are not a list", where);
  EditLog log;
  for (const Json& entry : json)
    log.entries_.push_back({count_member(entry, "step", where), Edit::from_json(entry, where)});
  return log;
}

}  // namespace smidgen
