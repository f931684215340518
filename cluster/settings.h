#pragma once

#include <cstdint>

#include "weir/core/config.h"
#include "weir/core/time.h"

namespace weir {

/// The cluster's settings, checked and in their own types. Driver and workers make theirs from the
/// same `Config`: the driver's are handed to each worker through its boot pipe. An immutable value.
struct ClusterSettings {
  /// Throws Error(kInvalidArgument) that names a setting outside its range.
  static ClusterSettings from(const Config& config);

  Duration heartbeat_interval{};
  Duration heartbeat_timeout{};
  Duration driver_timeout{};
  Duration task_hang_timeout{};
  Duration launch_grace{};
  Duration locality_wait{};
  Duration worker_start_timeout{};
  std::uint32_t start_attempts = 0;
  Duration restart_backoff{};
  Duration restart_backoff_max{};
  Duration restart_reset{};
  Duration stop_grace{};
  Duration lost_worker_linger{};
  std::uint64_t inline_bytes = 0;
  std::uint64_t frame_bytes = 0;
  std::uint64_t fetch_window_bytes = 0;
  Duration fetch_timeout{};
  std::uint64_t stage_cache_bytes = 0;
  std::uint32_t resident_slots = 0;
  std::uint32_t tasks_ahead = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & heartbeat_interval & heartbeat_timeout & driver_timeout & task_hang_timeout & launch_grace;
    ar & locality_wait & worker_start_timeout & start_attempts & restart_backoff;
    ar & restart_backoff_max & restart_reset & stop_grace & lost_worker_linger & inline_bytes;
    ar & frame_bytes & fetch_window_bytes & fetch_timeout & stage_cache_bytes & resident_slots;
    ar & tasks_ahead;
  }
};

/// Timeouts are multiplied by this: 1, or more under a sanitizer, where everything is that much
/// slower.
extern const int kTimeoutScale;

}  // namespace weir
