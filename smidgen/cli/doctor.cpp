// What the machine has, what is missing, and the remedy. Whether the core could be loaded is read
// from its headers: torch is never opened.
#include <cstdlib>
#include <fstream>
#include <unistd.h>

#include <sys/resource.h>

#include "smidgen/base/cpu.h"
#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/memory.h"
#include "smidgen/base/progress.h"
#include "smidgen/base/user_cache.h"
#include "smidgen/base/version.h"
#include "smidgen/cli/command.h"
#include "smidgen/cli/core_library.h"
#include "smidgen/cli/needed.h"

namespace smidgen {
namespace {

Json row(const char* name, const char* state, const std::string& found,
         const std::string& remedy = {}) {
  Json entry = {{"name", name}, {"state", state}, {"found", found}};
  if (!remedy.empty()) entry["remedy"] = remedy;
  return entry;
}

bool has(const CpuInfo& cpu, std::string_view name) {
  for (const std::string& isa : cpu.isa) {
    if (isa == name) return true;
  }
  return false;
}

void processor_rows(Json& rows) {
  const CpuInfo cpu = cpu_info();
  const bool fast = has(cpu, "avx2") || has(cpu, "asimd");
  rows.push_back(row("processor", "ok", cpu.model.empty() ? "unknown model" : cpu.model));
  rows.push_back(row("instructions", fast ? "ok" : "warn",
                     cpu.isa.empty() ? "none known" : join(cpu.isa, " "),
                     fast ? "" : "without AVX2 the slow portable kernels are used"));
  const int threads = default_threads(cpu.affinity, cpu.quota);
  std::string cores =
      str(threads, " threads by default; ", cpu.online, " processors, ", cpu.affinity, " allowed");
  if (cpu.quota > 0) cores += str(", cgroup quota ", cpu.quota);
  const bool odd = cpu.quota > 0 && cpu.quota < 1;
  rows.push_back(
      row("cores", odd ? "warn" : "ok", cores, odd ? "raise the container's processor quota" : ""));
}

void memory_rows(Json& rows) {
  constexpr int64_t kComfortable =
      3000000000;  // bytes; the demo model with its tuning needs about two thirds
  const int64_t limit = memory_limit(), free = available_memory();
  std::string found = str(bytes_text(free), " available of ", bytes_text(limit));
  if (limit < total_memory())
    found += str(" (cgroup limit; the machine has ", bytes_text(total_memory()), ")");
  rows.push_back(row("memory", free < kComfortable ? "warn" : "ok", found,
                     free < kComfortable
                         ? "close other programs, or use a smaller model or a smaller micro_tokens"
                         : ""));
  const auto limited = [](__rlimit_resource kind) {
    rlimit value{};
    const bool known = ::getrlimit(kind, &value) == 0 && value.rlim_cur != RLIM_INFINITY;
    return known ? std::optional<uint64_t>(value.rlim_cur) : std::nullopt;
  };
  const auto files = limited(RLIMIT_NOFILE);
  const bool few = files && *files < 256;
  rows.push_back(row("open files", few ? "warn" : "ok",
                     files ? str("at most ", *files) : "no limit", few ? "ulimit -n 1024" : ""));
  if (const auto space = limited(RLIMIT_AS)) {
    rows.push_back(row("address space", "warn",
                       str("at most ", bytes_text(static_cast<int64_t>(*space))),
                       "ulimit -v unlimited: models are mapped, not read"));
  }
}

void disk_row(Json& rows) {
  constexpr uint64_t kEnough = 2000000000;  // bytes; a run with a few checkpoints of the demo model
  try {
    const uint64_t space = free_space(".");
    rows.push_back(row("disk", space < kEnough ? "warn" : "ok",
                       str(bytes_str(space), " free in this folder"),
                       space < kEnough ? "write runs elsewhere with --out" : ""));
  } catch (const Error& error) {
    rows.push_back(row("disk", "warn", error.what(), "run from a folder that can be read"));
  }
}

// "2.13.0+cpu" from torch/version.py above the library, or empty.
std::string torch_version(const fs::path& library) {
  std::ifstream file(library.parent_path().parent_path() / "version.py");
  std::string line;
  while (std::getline(file, line)) {
    const size_t quote = line.find('\'');
    if (!line.starts_with("__version__") || quote == line.npos) continue;
    return line.substr(quote + 1, line.find('\'', quote + 1) - quote - 1);
  }
  return "";
}

void cache_row(Json& rows) {
  const fs::path folder = user_cache();
  if (folder.empty()) {
    rows.push_back(row("cache", "warn", "neither HOME nor XDG_CACHE_HOME is set",
                       "step timings and digests are found out anew each time"));
    return;
  }
  rows.push_back(
      row("cache", "ok",
          str(counted(read_cache("step_times").size(), "step timing"), " and ",
              counted(read_cache("digests").size(), "digest"), " in ", folder.string())));
}

void core_rows(Json& rows) {
  const fs::path core = find_core_library();
  if (core.empty()) {
    rows.push_back(row("core library", "missing", "libsmidgen_core.so is not beside the program",
                       "make build (or configure with -DSMIDGEN_CORE=ON)"));
    return;
  }
  const char* remedy =
      "torch must be where it was when smidgen was built: run make setup, then make build";
  try {
    for (const NeededLibrary& library : needed_libraries(core)) {
      if (library.name != "libtorch_cpu.so") continue;
      const bool there = !library.found.empty();
      rows.push_back(row("core library", "ok", core.string()));
      rows.push_back(row("torch", there ? "ok" : "missing",
                         there ? str(torch_version(library.found), " at ", library.found.string())
                               : library.name + " is not where the core library looks for it",
                         there ? "" : remedy));
      return;
    }
    rows.push_back(row("core library", "warn", core.string() + " needs no torch", remedy));
  } catch (const Error& error) {
    rows.push_back(row("core library", "missing", error.what(), "make build"));
  }
}

void python_row(Json& rows) {
  const char* path = std::getenv("PATH");
  std::string_view folders = path ? path : "";
  while (!folders.empty()) {
    const size_t colon = std::min(folders.find(':'), folders.size());
    const fs::path program = fs::path(folders.substr(0, colon)) / "python3";
    folders.remove_prefix(std::min(colon + 1, folders.size()));
    if (::access(program.c_str(), X_OK) != 0) continue;
    rows.push_back(row("python", "ok", program.string()));
    return;
  }
  rows.push_back(row("python", "warn", "no python3 on PATH",
                     "needed to build and to test, not to run: apt-get install python3"));
}

std::string as_table(const Json& rows) {
  std::string text;
  for (const Json& entry : rows) {
    std::string left = entry["state"].get<std::string>();
    left.resize(9, ' ');
    left += entry["name"].get<std::string>();
    left.resize(std::max<size_t>(left.size() + 1, 24), ' ');
    text += str(left, entry["found"].get<std::string>(), "\n");
    if (entry.contains("remedy"))
      text += str(std::string(24, ' '), "-> ", entry["remedy"].get<std::string>(), "\n");
  }
  return text;
}

void run_doctor(const Invocation& invocation) {
  Json rows = Json::array();
  processor_rows(rows);
  memory_rows(rows);
  disk_row(rows);
  cache_row(rows);
  core_rows(rows);
  const bool schema = document()["verbs"].contains("tune");
  rows.push_back(row("schema.json", schema ? "ok" : "missing",
                     schema ? "verbs of the core are known" : "not found",
                     schema ? "" : "make build writes it beside the program"));
  python_row(rows);
  std::vector<std::string> missing;
  for (const Json& entry : rows) {
    if (entry["state"] == "missing") missing.push_back(entry["name"].get<std::string>());
  }
  if (invocation.output.json) {
    print_json({{"ok", missing.empty()}, {"version", version()}, {"checks", rows}});
  } else {
    print_text(as_table(rows));
  }
  // Scripts ask the exit code.
  if (!missing.empty())
    throw Error(ErrorKind::unsupported, "missing: " + join(missing), "", "see the remedies above");
}

const VerbEntry kDoctor([] {
  return Verb{"doctor",      "Tell what this machine has and what is missing",
              Json::array(), "",
              Json::array(), run_doctor};
});

}  // namespace
}  // namespace smidgen
