// What every adapter can be told about where it goes and what is trained beside it, whichever its
// method: HF PEFT's target_modules, exclude_modules, layers_to_transform, layers_pattern, bias,
// modules_to_save, trainable_token_indices and ensure_weight_tying. A method's configuration holds
// a Placement and lists its fields among its own. Source: huggingface/peft 0.21.2,
// tuners/tuners_utils.py, utils/other.py.
#pragma once

#include <string>
#include <vector>

#include "smidgen/base/schema.h"
#include "smidgen/methods/method.h"

namespace smidgen {

struct Placement {
  Targets target{{"all-linear"}};
  Targets exclude;
  std::vector<int64_t> layers;
  std::vector<std::string> layers_pattern;
  std::string bias = "none";  // none, all, or METHOD_only
  std::vector<std::string> modules_to_save;
  std::vector<int64_t> tokens, head_tokens;
  bool ensure_weight_tying = false;
  // Not fields: whose word METHOD_only is, and what targets are for it.
  std::string method = "lora";
  std::string target_help = "Modules to attach to: all-linear, names, or re:PATTERN";
};

template <class V>
void fields_of_targets(V& v, Placement& c) {
  v("target", c.target,
    {.help = c.target_help,
     .was = {"target_modules"},
     .peft = "target_modules",
     .peft_default = Json::array()});
  v("exclude", c.exclude,
    {.help = "Modules to leave out, in the same forms",
     .was = {"exclude_modules"},
     .peft = "exclude_modules"});
  v("layers", c.layers,
    {.help = "Numbers of the layers to attach to; none is all",
     .min = 0,
     .was = {"layers_to_transform"},
     .peft = "layers_to_transform"});
  v("layers_pattern", c.layers_pattern,
    {.help = "Names of the list of layers that the numbers count; none is any",
     .peft = "layers_pattern"});
}

// What is trained beside a method that decides itself where it goes.
template <class V>
void fields_beside(V& v, Placement& c) {
  v.choice("bias", c.bias, {"none", "all", c.method + "_only"},
           {.help = "Biases of the model to train: none, all, or those of the modules attached to",
            .peft = "bias"});
  v("modules_to_save", c.modules_to_save,
    {.help = "Modules of which a whole copy is trained", .peft = "modules_to_save"});
  v("token_rows", c.tokens,
    {.help = "Token ids whose embedding rows are trained, and those of a tied head with them",
     .min = 0,
     .was = {"trainable_token_indices"},
     .peft = "trainable_token_indices"});
  v("head_token_rows", c.head_tokens,
    {.help = "Token ids whose rows of the output matrix are trained apart from the embedding's",
     .min = 0});
  v("ensure_weight_tying", c.ensure_weight_tying,
    {.help = "Give a tied embedding and head one common update", .peft = "ensure_weight_tying"});
}

template <class V>
void fields(V& v, Placement& c) {
  fields_of_targets(v, c);
  fields_beside(v, c);
}

// The sites that the placement picks, in model order. Differs from PEFT where its target_modules is
// a string and layers are given: it refuses, here the layers narrow what the pattern picks. With
// `loading`, no target at all means every linear and embedding site: the tensors decide. With
// ensure_weight_tying a tied head is left out and its embedding taken; see tied_head().
std::vector<const Site*> match(const std::vector<Site>& sites, const Placement& placement,
                               bool loading);
// The head that shares the update of the embedding, when a picked or saved module asks for it.
const Site* tied_head(const std::vector<Site>& sites, const Placement& placement);

const Site* input_embedding(const std::vector<Site>& sites);  // null when there is none
const Site* output_head(const std::vector<Site>& sites);

// The first value whose key k, in the order written, matches the path as "(.*\.)?(k)$" does.
template <class T>
T by_pattern(const OrderedMap<T>& patterns, const std::string& path, T otherwise);
extern template int64_t by_pattern(const OrderedMap<int64_t>&, const std::string&, int64_t);
extern template double by_pattern(const OrderedMap<double>&, const std::string&, double);

// The same patterns in a form that survives sorting, which is what PEFT does to them when it writes
// its configuration: as they are where the order decides nothing for the plan's own sites, else one
// whole path per site that a pattern speaks of.
template <class T>
OrderedMap<T> order_free(const OrderedMap<T>& patterns, const Plan& plan);
extern template OrderedMap<int64_t> order_free(const OrderedMap<int64_t>&, const Plan&);
extern template OrderedMap<double> order_free(const OrderedMap<double>&, const Plan&);

// PEFT's configuration in the forms that the fields read: trainable_token_indices as lists, for
// one. Puts head_tokens, which has no key of its own there, into `head_tokens`.
Json placement_from_peft(const Json& peft, const std::vector<Site>& sites, const std::string& where,
                         std::vector<int64_t>* head_tokens);
// The placement's keys as PEFT 0.21.2 writes them.
void placement_to_peft(const Placement& placement, const Plan& plan, Json* peft);

// The placement among a method's checked configuration; defaults where the method has none.
Placement placement_of(const Json& config);

}  // namespace smidgen
