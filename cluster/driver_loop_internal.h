#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <zmq.hpp>

#include "weir/cluster/channel_internal.h"
#include "weir/cluster/cluster_driver.h"
#include "weir/cluster/process.h"
#include "weir/cluster/worker_boot.h"
#include "weir/core/task.h"

namespace weir::internal {

/// The decision thread of a cluster's driver: runs `ClusterDriver` over sockets and processes, and
/// with it the scheduler that posts to it. It is the thread that waits on the sockets, so that an
/// outcome is decided upon by the thread that was woken for it.
///
/// Threads: three. The decision thread owns the ROUTER of control and slot channels. The heartbeat
/// thread owns a ROUTER of its own, answers at once and posts what it heard with the time it heard
/// it; silence is judged by the ticks it posts behind that, so a busy decision thread finds nobody
/// dead. The third belongs to `WorkerProcesses`. `post` may be called from any thread; `cluster`
/// and what drives it only from the decision thread.
class DriverLoop {
 public:
  struct Options {
    ClusterDriver::Options cluster;
    WorkerBoot boot;  ///< for every worker, but for `self`
  };

  /// Listens at the boot's directory. Throws Error.
  DriverLoop(Options options, TaskRunner::Observer& observer);
  ~DriverLoop();
  DriverLoop(const DriverLoop&) = delete;
  DriverLoop& operator=(const DriverLoop&) = delete;

  /// Starts threads and workers; returns when all workers have registered, or some and the others
  /// take longer. Throws Error(kUnreachable) with the cause if none comes.
  void start();
  /// Ends workers and threads; returns when the processes are gone. Idempotent.
  void stop();
  /// Runs `event` on the decision thread. After `stop` it does nothing.
  void post(std::function<void()> event);

  // On the decision thread.
  void launch(TaskSpec task);
  void cancel(AttemptId attempt);
  void tell(AttemptId attempt, Bytes message);
  void release_shuffle(ShuffleId shuffle);
  void release_dataset(DatasetId dataset);
  void release_state(StateId state);

 private:
  void decide();
  bool receive();
  void received(const std::string& peer, std::string_view frame);
  void guarded(const std::function<void()>& part);
  bool run_posted();
  void wait(bool is_timer_due_later, Duration until_timer);
  void perform();
  void perform(ClusterDriver::Action action);
  void send(const ClusterDriver::Send& what);
  void on_refused_frame(const std::string& peer, const std::string& why);

  struct Beat {
    WorkerId from;
    wire::ToDriver message;
  };
  void listen_to_heartbeats();
  void hear(const FromPeer& received, SteadyTime at, std::vector<Beat>& beats);

  static SteadyTime now() { return Clock::system().steady_now(); }

  const Options options_;
  TaskRunner::Observer& observer_;
  zmq::context_t context_;
  zmq::socket_t router_;      // the decision thread's
  zmq::socket_t heartbeats_;  // the heartbeat thread's
  int wake_ = -1;

  // The decision thread's own.
  ClusterDriver driver_;
  bool performing_ = false;
  std::uint64_t refused_frames_ = 0;

  std::mutex mutex_;
  std::deque<std::function<void()>> posted_;  // guarded by mutex_
  bool ended_ = false;                        // guarded by mutex_; nothing is posted any more
  // How the start goes, guarded by mutex_.
  std::condition_variable start_changed_;
  bool starting_ = true;
  std::uint32_t registered_ = 0;
  std::string failure_;
  std::string last_trouble_;

  std::jthread heartbeat_thread_;
  std::unique_ptr<WorkerProcesses> processes_;
  std::jthread decision_thread_;
};

}  // namespace weir::internal
