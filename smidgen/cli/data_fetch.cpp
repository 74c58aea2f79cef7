#include <cerrno>
#include <cstring>
#include <spawn.h>
#include <unistd.h>

#include <sys/wait.h>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/cli/core_library.h"
#include "smidgen/cli/data_sets.h"

extern char** environ;

namespace smidgen {

namespace {

// Installed: bin/smidgen and share/smidgen/data. In a build folder: scripts/data of the tree around
// it.
fs::path find_script(const std::string& script) {
  fs::path folder = program_folder();
  const fs::path installed = folder / "../share/smidgen/data" / script;
  if (path_exists(installed)) return installed;
  for (;;) {
    const fs::path here = folder / "scripts/data" / script;
    if (path_exists(here)) return here;
    if (!folder.has_parent_path() || folder == folder.parent_path()) break;
    folder = folder.parent_path();
  }
  throw Error(ErrorKind::not_found, str("cannot find the script ", script),
              program_folder().string(),
              "it belongs into ../share/smidgen/data, or scripts/data of the source tree");
}

// The environment that `make` sets up has pip; a bare Debian python3 has not.
std::string python_for(const fs::path& script) {
  const fs::path local = script.parent_path() / "../../.venv/bin/python3";
  return path_exists(local) ? local.string() : "python3";
}

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// Wait status of the program.
int run_program(std::vector<std::string> words, bool stdout_to_stderr) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  FileActions actions;
  if (stdout_to_stderr)
    posix_spawn_file_actions_adddup2(actions.get(), STDERR_FILENO, STDOUT_FILENO);
  pid_t child = 0;
  if (const int code =
          posix_spawnp(&child, argv[0], actions.get(), nullptr, argv.data(), environ)) {
    throw Error(code == ENOENT ? ErrorKind::not_found : ErrorKind::resource,
                str("cannot run ", words[0], ": ", std::strerror(code)), "",
                code == ENOENT ? "install python3" : "");
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR)
      throw Error(ErrorKind::resource,
                  str("cannot wait for ", words[0], ": ", std::strerror(errno)));
  }
  return status;
}

}  // namespace

const std::vector<DataSet>& data_sets() {
  static const std::vector<DataSet> all = {
      {"election-tweets", "election_tweets.py", "tweets of the candidates of 2016 -> author, of 2"},
      {"fortune-topics", "fortune_topics.py", "texts of Debian's fortunes -> topic, of 6"},
      {"manpage-languages", "manpage_languages.py",
       "paragraphs of Debian's manual pages -> language, of 6"},
      {"reuters-r8", "reuters_r8.py", "news stories of Reuters, lower-cased -> topic, of 8"},
      {"smollm2", "smollm2.py", "the model SmolLM2-135M-Instruct, Q4_1 GGUF, 98 MB"},
      {"stdlib-functions", "stdlib_functions.py",
       "documented functions of Python 3.11's library: signature and docstring -> body"}};
  return all;
}

void fetch_data(const std::string& name, const std::string& out, bool json) {
  std::vector<std::string> names;
  for (const DataSet& set : data_sets()) {
    names.push_back(set.name);
    if (name != set.name) continue;
    const fs::path script = find_script(set.script);
    // -I: neither PYTHONPATH nor a module beside the caller gets between. --out=X: a folder may
    // begin with a dash.
    std::vector<std::string> words{python_for(script), "-I", script.string(), "--out=" + out};
    const int status = run_program(std::move(words), json);
    if (WIFSIGNALED(status)) {
      const int number = WTERMSIG(status);
      throw Error(
          number == SIGINT || number == SIGTERM ? ErrorKind::interrupted : ErrorKind::resource,
          str(set.script, " was ended by signal ", number));
    }
    if (WEXITSTATUS(status) != 0) {
      throw Error(WEXITSTATUS(status) == 2 ? ErrorKind::usage : ErrorKind::resource,
                  str("could not make ", name), script.string(), "the lines above say why");
    }
    return;
  }
  throw Error(ErrorKind::usage, str("there is no data set '", name, "'"), "",
              did_you_mean(name, names, str("known: ", join(names))));
}

}  // namespace smidgen
