// A set of named tensors that somebody else keeps in memory or in a mapped file.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "smidgen/io/tensor_view.h"

namespace smidgen {

// Reading is safe from several threads. Views stay valid as long as the store lives.
class TensorStore {
 public:
  virtual ~TensorStore();
  virtual const std::vector<std::string>& names() const = 0;  // in file order
  virtual bool contains(const std::string& name) const = 0;
  // Throws not_found with the nearest names.
  virtual TensorView view(const std::string& name) const = 0;
  virtual std::string where() const = 0;  // the file or folder, for messages
  // Lets go of the memory that `bytes` of this store take up as pages of a mapped file. They stay
  // readable: the system brings them back. Does nothing where nothing is mapped.
  virtual void release(std::span<const std::byte> bytes) const { static_cast<void>(bytes); }
  // Copies `bytes` of this store, without leaving pages of a mapped file in memory.
  virtual void read(std::span<const std::byte> bytes, std::byte* out) const;
};

// Tensors by name, in the order in which they were added: what files and tests build on.
class TensorTable : public TensorStore {
 public:
  explicit TensorTable(std::string where) : where_(std::move(where)) {}
  // Throws format when the name is taken.
  void add(std::string name, TensorView view);

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return views_.count(name) != 0; }
  TensorView view(const std::string& name) const override;
  std::string where() const override { return where_; }

 private:
  std::string where_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorView> views_;
};

}  // namespace smidgen
