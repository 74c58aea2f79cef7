#include "smidgen/train/edit.h"

#include <array>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

constexpr std::array<std::pair<Edit::Kind, const char*>, 5> kKinds = {
    {{Edit::Kind::freeze, "freeze"},
     {Edit::Kind::thaw, "thaw"},
     {Edit::Kind::activate, "activate"},
     {Edit::Kind::grow, "grow"},
     {Edit::Kind::shrink, "shrink"}}};

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

Edit Edit::from_json(const Json& json) {
  Edit edit;
  const std::string word = json.at("kind");
  bool known = false;
  for (const auto& [value, name] : kKinds) {
    if (word == name) {
      edit.kind = value;
      known = true;
    }
  }
  if (!known)
    throw Error(ErrorKind::format, str("there is no edit '", word, "'"), "structure.json");
  edit.parameter = json.at("parameter");
  edit.rows = json.value("rows", int64_t{0});
  edit.keep = json.value("keep", std::vector<int64_t>{});
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
      if (edit.rows < 1) refuse(str("cannot grow by ", edit.rows, " rows"));
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

EditLog EditLog::from_json(const Json& json) {
  EditLog log;
  for (const Json& entry : json)
    log.entries_.push_back({entry.at("step").get<int64_t>(), Edit::from_json(entry)});
  return log;
}

}  // namespace smidgen
