#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "weir/cluster/frame.h"
#include "weir/cluster/settings.h"
#include "weir/core/storage/memory_settings.h"
#include "weir/core/task.h"

namespace weir {

/// What a process must know to be a worker. It is handed over through an inherited pipe, so that no
/// secret stands in argv or the environment; the environment only names the pipe's descriptor.
struct WorkerBoot {
  WorkerId self;
  std::uint32_t slots = 1;
  FrameKey key;
  std::string directory;  ///< of the run's sockets
  ClusterSettings settings;
  MemorySettings memory;
  std::map<std::string, std::string> config;  ///< the driver's, by name

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & self & slots & key.epoch & key.token & directory & settings & memory & config;
  }
};

/// Descriptor of the pipe: what makes a process a worker.
inline constexpr const char* kWorkerRoleVariable = "WEIR_WORKER_ROLE";

/// The bytes to write into the pipe: length, hash, content.
std::string pack(const WorkerBoot& boot);
/// Reads them from `descriptor`. Throws Error(kCorrupt).
WorkerBoot read_worker_boot(int descriptor);

// The run's sockets.
std::string driver_endpoint(const std::string& directory);
std::string heartbeat_endpoint(const std::string& directory);
std::string exchange_endpoint(const std::string& directory, WorkerId worker);
/// The file behind `exchange_endpoint`, which stays when its worker is killed.
std::string exchange_path(const std::string& directory, WorkerId worker);
/// Whether a file of the directory is called like one of these.
bool is_socket_name(std::string_view name);

}  // namespace weir
