// Everything that is trained, in fp32 arenas {value, grad, m, v}. A parameter is a handle: a name,
// a shape, and where its rows lie. Values and gradients are views of the arenas, so an optimiser
// walks flat memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

struct ParamSpec {
  std::string site;            // HF module path; empty for a tensor shared by many sites
  std::string name;            // the method's own name of it: "lora_A.weight"
  std::vector<int64_t> shape;  // row-major; the first axis is what Grow, Shrink and Activate count
  std::string group = "default";

  std::string path() const { return site.empty() ? name : site + "." + name; }
};

class Parameter {
 public:
  const ParamSpec& spec() const { return spec_; }
  const at::Tensor& value() const {
    return value_;
  }  // leaf of the graph; its .grad() is a view of the arena
  at::Tensor gradient() const { return grad_; }
  at::Tensor first_moment() const { return m_; }
  at::Tensor second_moment() const { return v_; }
  int64_t rows() const { return spec_.shape.empty() ? 1 : spec_.shape[0]; }
  int64_t size() const { return value_.numel(); }
  int64_t active_rows() const { return active_; }
  bool frozen() const { return frozen_; }
  // Optimiser steps that each row has seen: bias correction must not start anew for a row that
  // survives an edit.
  std::span<const int64_t> counts() const { return counts_; }

 private:
  friend class ParamStore;
  ParamSpec spec_;
  at::Tensor value_, grad_, m_, v_;
  int64_t active_ = 0;
  bool frozen_ = false;
  std::vector<int64_t> counts_;
};

class ParamStore {
 public:
  // Adds zero-filled parameters in one new arena, in the order given. Paths must be new. `planned`:
  // shapes without memory (torch's meta device), for plans.
  std::vector<Parameter*> add(const std::vector<ParamSpec>& specs, bool planned = false);

  const std::vector<std::unique_ptr<Parameter>>& parameters() const { return parameters_; }
  Parameter& find(const std::string& path) const;  // not_found with the nearest path
  Parameter* find_or_null(const std::string& path) const;

  int64_t trainable_elements() const;
  void zero_grad();
  // Multiplies every gradient that is not frozen; returns nothing.
  void scale_grad(double factor);
  // Euclidean norm over all gradients that are not frozen, accumulated in double in a fixed order.
  double grad_norm() const;
  // SHA-256 over paths and value bits: equal digests mean equal parameters.
  std::string digest() const;

  // ---- edits (see train/edit.h). Surviving rows keep value, moments and counts.
  void set_frozen(Parameter& p, bool frozen);
  void set_active(Parameter& p, int64_t rows);
  // Keeps the given rows, in their order, then appends `fresh` zero rows. Storage moves; the handle
  // stays, and so does the Tensor it gave out only if nothing moved: attachments are made again
  // after such an edit.
  void reshape_rows(Parameter& p, const std::vector<int64_t>& keep, int64_t fresh);

  // Marks one optimiser step as seen by the active rows.
  void count_step(Parameter& p);
  void set_counts(Parameter& p, std::vector<int64_t> counts);

 private:
  void place(Parameter& p, at::Tensor value, at::Tensor grad, at::Tensor m, at::Tensor v);
  struct Arena {
    at::Tensor value, grad, m, v;
  };
  std::vector<Arena> arenas_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
};

}  // namespace smidgen
