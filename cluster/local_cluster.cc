#include "weir/cluster/local_cluster.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "weir/cluster/driver_loop_internal.h"
#include "weir/cluster/private_directory.h"
#include "weir/cluster/worker_process.h"
#include "weir/core/error.h"
#include "weir/core/loader.h"
#include "weir/core/runner_registry.h"
#include "weir/core/task.h"

namespace weir {
namespace {

constexpr int kMaxSlots = 1024;                 // all of them stand in one heartbeat
constexpr std::size_t kLongestSocketName = 21;  // "4294967295.4294967295"

void fill_randomly(void* to, std::size_t size) {
  if (getrandom(to, size, 0) != static_cast<ssize_t>(size)) {
    throw Error(ErrorCode::kUnreachable, fmt::format("getrandom: {}", std::strerror(errno)));
  }
}

/// The `TaskRunner` of local-cluster[W,S]: a directory for the sockets and a `DriverLoop` over
/// them.
class LocalCluster final : public TaskRunner {
 public:
  LocalCluster(std::uint32_t workers, std::uint32_t slots, const Config& config)
      : workers_(workers),
        slots_(slots),
        settings_(ClusterSettings::from(config)),
        memory_(MemorySettings::from(config, workers, slots)),
        config_(config.values()) {}
  ~LocalCluster() override { stop(); }

  void start(Observer& observer) override {
    directory_ = std::make_unique<PrivateDirectory>(kLongestSocketName);
    internal::DriverLoop::Options options;
    options.cluster.settings = settings_;
    options.cluster.places = workers_;
    options.cluster.modules = loaded_modules();
    options.boot.slots = slots_;
    options.boot.directory = directory_->path();
    options.boot.settings = settings_;
    options.boot.memory = memory_;
    options.boot.config = config_;
    fill_randomly(&options.boot.key.epoch, sizeof options.boot.key.epoch);
    fill_randomly(options.boot.key.token.data(), options.boot.key.token.size());
    (void)pack(options.boot);  // throws here if the settings are too large to hand over, not later
    loop_ = std::make_unique<internal::DriverLoop>(std::move(options), observer);
    try {
      loop_->start();
    } catch (...) {
      stop();
      throw;
    }
  }

  void stop() override {
    if (loop_ != nullptr) loop_->stop();
    directory_.reset();
  }

  void post(std::function<void()> event) override { loop_->post(std::move(event)); }
  void launch(TaskSpec task) override { loop_->launch(std::move(task)); }
  void cancel(AttemptId attempt) override { loop_->cancel(attempt); }
  void tell(AttemptId attempt, Bytes message) override { loop_->tell(attempt, std::move(message)); }
  void release_shuffle(ShuffleId shuffle) override { loop_->release_shuffle(shuffle); }
  void release_dataset(DatasetId dataset) override { loop_->release_dataset(dataset); }
  void release_state(StateId state) override { loop_->release_state(state); }
  std::uint32_t total_slots() const override { return workers_ * slots_; }
  std::uint32_t total_workers() const override { return workers_; }

 private:
  const std::uint32_t workers_;
  const std::uint32_t slots_;
  const ClusterSettings settings_;
  const MemorySettings memory_;
  const std::map<std::string, std::string> config_;
  std::unique_ptr<PrivateDirectory> directory_;
  std::unique_ptr<internal::DriverLoop> loop_;
};

}  // namespace

bool link_local_cluster() {
  static const bool registered =
      internal::register_worker_role(internal::serve_as_worker) &&
      internal::register_runner(
          "local-cluster", [](const std::string& master, const Config& config) {
            const auto numbers = internal::parse_master_numbers(
                master, 2, "local-cluster[W,S], W worker processes with S slots each");
            if (numbers[1] > kMaxSlots) {
              throw Error(
                  ErrorCode::kInvalidArgument,
                  fmt::format("weir.master: '{}' asks for {} slots in a worker; the limit is {}",
                              master, numbers[1], kMaxSlots));
            }
            return std::make_unique<LocalCluster>(static_cast<std::uint32_t>(numbers[0]),
                                                  static_cast<std::uint32_t>(numbers[1]), config);
          });
  return registered;
}

}  // namespace weir
