#include "weir/core/loader.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir {
namespace {

struct Module {
  ModuleId id;
  std::uintptr_t base = 0;
  std::uintptr_t begin = 0;  // of the mapped image
  std::uintptr_t end = 0;
};

/// The build id note of a mapped module, empty if it has none.
std::string_view build_id(const dl_phdr_info& info) {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const char* at = reinterpret_cast<const char*>(info.dlpi_addr + header.p_vaddr);
    const char* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const char* content = name + ((note.n_namesz + 3) & ~3U);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0) {
        return {content, note.n_descsz};
      }
      at = content + ((note.n_descsz + 3) & ~3U);
    }
  }
  return {};
}

int collect(dl_phdr_info* info, std::size_t, void* out) {
  Module module;
  module.base = info->dlpi_addr;
  module.begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    module.begin = std::min<std::uintptr_t>(module.begin, info->dlpi_addr + header.p_vaddr);
    module.end =
        std::max<std::uintptr_t>(module.end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
  }
  const bool is_program = info->dlpi_name == nullptr || *info->dlpi_name == '\0';
  module.id.name = is_program ? "/proc/self/exe" : info->dlpi_name;
  module.id.id = hash_bytes(build_id(*info));
  if (build_id(*info).empty()) {
    std::ifstream file(module.id.name, std::ios::binary);
    module.id.id = hash_bytes(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  static_cast<std::vector<Module>*>(out)->push_back(module);
  return 0;
}

/// All loaders of the process. Functions are added during static initialisation (also that of
/// libraries opened later); modules are looked up when an id is first needed.
class LoaderTable {
 public:
  static LoaderTable& instance() {
    static LoaderTable table;
    return table;
  }

  void add(internal::LoadFunction load) {
    const std::scoped_lock lock(mutex_);
    pending_.push_back(load);
  }

  CodeId id_of(internal::LoadFunction load) {
    const std::scoped_lock lock(mutex_);
    resolve();
    const auto found = ids_.find(load);
    if (found == ids_.end()) {
      throw Error(ErrorCode::kInternal, "a stage uses code that is in no module of this process");
    }
    return found->second;
  }

  internal::LoadFunction find(CodeId id) {
    const std::scoped_lock lock(mutex_);
    resolve();
    const auto found = functions_.find(id);
    if (found == functions_.end()) {
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("a stage names code (module {:016x}, offset {:#x}) that is not in this "
                      "program; driver and workers must run the same binary",
                      id.module, id.offset));
    }
    return found->second;
  }

  std::vector<ModuleId> modules() {
    const std::scoped_lock lock(mutex_);
    resolve();
    return modules_;
  }

 private:
  void resolve() {
    if (pending_.empty()) return;
    std::vector<Module> mapped;
    dl_iterate_phdr(&collect, &mapped);
    for (const internal::LoadFunction load : pending_) {
      const auto address = reinterpret_cast<std::uintptr_t>(load);
      for (const Module& module : mapped) {
        if (address < module.begin || address >= module.end) continue;
        const CodeId id{module.id.id, address - module.base};
        ids_[load] = id;
        functions_[id] = load;
        const auto same = [&](const ModuleId& known) { return known.id == module.id.id; };
        if (std::none_of(modules_.begin(), modules_.end(), same)) modules_.push_back(module.id);
      }
    }
    pending_.clear();
    std::sort(modules_.begin(), modules_.end(),
              [](const ModuleId& a, const ModuleId& b) { return a.id < b.id; });
  }

  std::mutex mutex_;
  std::vector<internal::LoadFunction> pending_;
  std::map<internal::LoadFunction, CodeId> ids_;
  std::map<CodeId, internal::LoadFunction> functions_;
  std::vector<ModuleId> modules_;
};

}  // namespace

std::vector<ModuleId> loaded_modules() { return LoaderTable::instance().modules(); }

namespace internal {

bool add_loader(LoadFunction load) {
  LoaderTable::instance().add(load);
  return true;
}

CodeId code_id(LoadFunction load) { return LoaderTable::instance().id_of(load); }

LoadFunction find_loader(CodeId id) { return LoaderTable::instance().find(id); }

}  // namespace internal
}  // namespace weir
