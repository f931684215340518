#include "weir/core/storage/memory_settings.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace weir {
namespace {

constexpr std::int64_t kLeastMemory = 1 << 20;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kUsualPercent = 60;  // of the machine's memory, for all workers

const ConfigKey<std::int64_t> kMemory(
    "memory", 0,
    "memory of each worker (of the process, for local[N]) for blocks, map outputs and tasks, bytes "
    "(1048576 or more; 0: 60 % of the machine's, divided among the workers)");
const ConfigKey<std::string> kSpillDir(
    "spill-dir", "", "where workers put what does not fit into memory; empty: $TMPDIR, else /tmp");
const ConfigKey<std::int64_t> kSpillLimit(
    "spill-limit", 0, "most bytes that a worker has there at a time (0: no limit)");
const ConfigKey<std::string> kCompression(
    "shuffle-compression", "none",
    "of map outputs, in memory, on the disk and on their way: none or lz4");

}  // namespace

std::uint64_t machine_memory() {
  auto memory = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream group("/sys/fs/cgroup/memory.max");  // "max" if there is none
  std::uint64_t allowed = 0;
  if (group >> allowed && allowed != 0) memory = std::min(memory, allowed);
  return memory;
}

MemorySettings MemorySettings::from(const Config& config, std::uint32_t workers,
                                    std::uint32_t slots) {
  auto memory = static_cast<std::uint64_t>(config.get(kMemory, 0, kMost));
  if (memory == 0) {
    memory =
        std::max<std::uint64_t>(machine_memory() / 100 * kUsualPercent / workers, kLeastMemory);
  } else {
    memory = static_cast<std::uint64_t>(config.get(kMemory, kLeastMemory, kMost));
  }
  MemorySettings settings;
  settings.store_bytes = memory / 2;
  settings.task_bytes = memory / 2 / slots;
  settings.spill_dir = config.get(kSpillDir);
  const auto limit = static_cast<std::uint64_t>(config.get(kSpillLimit, 0, kMost));
  settings.spill_limit = limit == 0 ? SpillFile::Options().limit : limit;
  const std::string compression = config.get(kCompression);
  if (compression != "none" && compression != "lz4") {
    throw Error(ErrorCode::kInvalidArgument,
                "weir.shuffle-compression is '" + compression + "'; it can be none or lz4");
  }
  settings.compress = compression == "lz4";
  return settings;
}

}  // namespace weir
