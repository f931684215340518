#include "weir/cluster/settings.h"

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir {

using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const int kTimeoutScale = 5;
#else
const int kTimeoutScale = 1;
#endif

namespace {

const ConfigKey<Duration> kHeartbeatInterval(
    "cluster.heartbeat-interval", 200ms, "time between two heartbeats of a worker (10ms to 1min)");
// A worker that froze right after a heartbeat is found out this much later. So far below 2 s that
// it is less than 2 s with the time it takes to notice, on a busy machine too; and several
// heartbeats, so that one that is late costs nothing.
const ConfigKey<Duration> kHeartbeatTimeout(
    "cluster.heartbeat-timeout", 1500ms,
    "a worker not heard of for this long is lost (at least 2 heartbeat intervals, to 1h)");
const ConfigKey<Duration> kDriverTimeout(
    "cluster.driver-timeout", 1min,
    "a worker that does not hear of its driver for this long ends itself (1s to 24h)");
const ConfigKey<Duration> kTaskHangTimeout(
    "cluster.task-hang-timeout", 5min,
    "a task that makes no progress for this long is taken for "
    "hung and its worker killed (10ms to 24h)");
const ConfigKey<Duration> kLaunchGrace("cluster.launch-grace", 1s,
                                       "a task that its worker does not know of this long after it "
                                       "was sent, and 1s more for each 16 MiB of it, is sent anew "
                                       "(10ms to 1min)");
const ConfigKey<Duration> kLocalityWait("cluster.locality-wait", 20ms,
                                        "how long a task waits for a busy worker that has its data "
                                        "while another is idle (0us to 1min)");
const ConfigKey<Duration> kWorkerStartTimeout(
    "cluster.worker-start-timeout", 15s,
    "a started worker process must have registered after this time (10ms to 1h)");
const ConfigKey<std::int64_t> kStartAttempts("cluster.start-attempts", 4,
                                             "workers of a place that end before any has ever "
                                             "registered, until it counts as failed (1 to 1000)");
const ConfigKey<Duration> kRestartBackoff("cluster.restart-backoff", 50ms,
                                          "wait before the second replacement of a worker that "
                                          "dies young; doubles each time (1ms to 1h)");
const ConfigKey<Duration> kRestartBackoffMax("cluster.restart-backoff-max", 5s,
                                             "longest wait before a replacement (1ms to 1h)");
const ConfigKey<Duration> kRestartReset(
    "cluster.restart-reset", 3s,
    "a worker that lived this long has not died young; its replacement starts at once (1ms to 1h)");
const ConfigKey<Duration> kStopGrace("cluster.stop-grace", 1s,
                                     "a worker told to end that has not after this time gets "
                                     "SIGTERM, and SIGKILL as much later (1ms to 1h)");
const ConfigKey<Duration> kLostWorkerLinger(
    "cluster.lost-worker-linger", 30s,
    "the process of a frozen worker that was declared lost is killed after this time (0us to 24h)");
const ConfigKey<std::int64_t> kInlineBytes(
    "cluster.inline-bytes", 8 * 1024,
    "map outputs up to this size per reducer travel with the announcement, bytes (0 to 1048576)");
const ConfigKey<std::int64_t> kFrameBytes(
    "cluster.frame-bytes", 256 * 1024,
    "size of the frames in which map outputs are fetched, bytes (4096 to 16777216)");
const ConfigKey<std::int64_t> kFetchWindowBytes(
    "cluster.fetch-window-bytes", 8 * 1024 * 1024,
    "credit of a reducer: bytes asked for ahead of what it "
    "consumes next (at least one frame, to 1073741824)");
const ConfigKey<Duration> kFetchTimeout(
    "cluster.fetch-timeout", 10s,
    "a fetch fails when a worker sends nothing of what was asked for this long (10ms to 1h)");
const ConfigKey<std::int64_t> kStageCacheBytes(
    "cluster.stage-cache-bytes", 16 * 1024 * 1024,
    "serialized size, and 16384 for each, of the stages that a worker keeps loaded, bytes (0 to "
    "1073741824)");
const ConfigKey<std::int64_t> kResidentSlots(
    "cluster.receivers-per-worker", 2,
    "receivers that a worker has room for, beside its slots; more of them wait (1 to 64)");
const ConfigKey<std::int64_t> kTasksAhead(
    "cluster.tasks-ahead", 7,
    "tasks that a slot is sent while it still runs another, if tasks of their stage take less than "
    "2 ms together (0 to 63)");

}  // namespace

ClusterSettings ClusterSettings::from(const Config& config) {
  ClusterSettings s;
  s.heartbeat_interval = config.get(kHeartbeatInterval, 10ms, 1min);
  s.heartbeat_timeout = config.get(kHeartbeatTimeout, 2 * s.heartbeat_interval, 1h) * kTimeoutScale;
  s.driver_timeout = config.get(kDriverTimeout, 1s, 24h) * kTimeoutScale;
  s.task_hang_timeout = config.get(kTaskHangTimeout, 10ms, 24h) * kTimeoutScale;
  s.launch_grace = config.get(kLaunchGrace, 10ms, 1min) * kTimeoutScale;
  s.locality_wait = config.get(kLocalityWait, 0us, 1min);
  s.worker_start_timeout = config.get(kWorkerStartTimeout, 10ms, 1h) * kTimeoutScale;
  s.start_attempts = static_cast<std::uint32_t>(config.get(kStartAttempts, 1, 1000));
  s.restart_backoff = config.get(kRestartBackoff, 1ms, 1h);
  s.restart_backoff_max = config.get(kRestartBackoffMax, 1ms, 1h);
  s.restart_reset = config.get(kRestartReset, 1ms, 1h);
  s.stop_grace = config.get(kStopGrace, 1ms, 1h) * kTimeoutScale;
  s.lost_worker_linger = config.get(kLostWorkerLinger, 0us, 24h);
  s.inline_bytes = config.get(kInlineBytes, 0, 1 << 20);
  s.frame_bytes = config.get(kFrameBytes, 4096, 16 << 20);
  s.fetch_window_bytes =
      config.get(kFetchWindowBytes, static_cast<std::int64_t>(s.frame_bytes), 1 << 30);
  s.fetch_timeout = config.get(kFetchTimeout, 10ms, 1h) * kTimeoutScale;
  s.stage_cache_bytes = config.get(kStageCacheBytes, 0, 1 << 30);
  s.resident_slots = static_cast<std::uint32_t>(config.get(kResidentSlots, 1, 64));
  s.tasks_ahead = static_cast<std::uint32_t>(config.get(kTasksAhead, 0, 63));
  return s;
}

}  // namespace weir
