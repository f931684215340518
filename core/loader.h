#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace weir {

class StageReader;

/// A module (executable or shared library) that is mapped into this process.
struct ModuleId {
  std::uint64_t id = 0;  ///< hash of its build id, or of its file when it has none
  std::string name;      ///< path, for messages only

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & id & name;
  }
};

/// The modules of this process whose code tables hold at least one loader, by id.
std::vector<ModuleId> loaded_modules();

/// Names a piece of code across processes that run the same binary: module and offset in its image,
/// so that address randomisation is no obstacle. Type names would not do: two lambdas of different
/// translation units can share one.
struct CodeId {
  std::uint64_t module = 0;
  std::uint64_t offset = 0;

  auto operator<=>(const CodeId&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & module & offset;
  }
};

namespace internal {

class StageNode;
using LoadFunction = std::unique_ptr<StageNode> (*)(StageReader&);

/// Enters `load` into the table; called at static initialisation, returns true.
bool add_loader(LoadFunction load);
/// Throws Error(kInternal) if the function is in no mapped module.
CodeId code_id(LoadFunction load);
/// The function that `id` names; throws Error(kCorrupt) unless it is in the table: an identifier
/// from outside is only ever looked up, never jumped to.
LoadFunction find_loader(CodeId id);

/// Enters `Node::load` into the table, once per node type; odr-used by the node's `code()`.
template <class Node>
struct __attribute__((visibility("hidden"))) Registered {
  static inline const bool value = add_loader(&Node::load);
};

}  // namespace internal
}  // namespace weir
