#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/config.h"
#include "weir/core/engine.h"
#include "weir/core/rdd.h"
#include "weir/core/shared/accumulator.h"
#include "weir/core/shared/broadcast.h"
#include "weir/core/shared/worker_local.h"
#include "weir/core/source_rdd.h"
#include "weir/core/text_file.h"

namespace weir {

/// The entry point of a program: owns the engine that runs its jobs. Make one early in `main`; when
/// the program was launched as a worker the constructor serves tasks and never returns, so
/// statements before it run in every worker and those after it in the driver only.
///
/// Thread-safe. Datasets made from it are invalid once it is gone: their actions throw.
class Context {
 public:
  /// Takes its own options (`--weir.*`) out of argv, then reads environment and configuration file.
  /// An Error that the program does not catch from now on ends it with its message and exit code.
  /// Throws Error(kInvalidArgument) for bad settings, Error(kUnreachable) if no worker could be
  /// started.
  Context(int& argc, char** argv, Config config = {});
  /// Without a command line: what `config` says, and the defaults.
  explicit Context(Config config);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// The driver's data in `partitions` pieces: piece i of p holds elements [i*n/p, (i+1)*n/p).
  /// 0 partitions: the default parallelism. Views are stored in their owning form.
  template <class T>
  Rdd<owned_t<T>> parallelize(std::vector<T> elements, std::uint32_t partitions = 0) {
    using Stored = owned_t<T>;
    const std::size_t p = partitions == 0 ? default_parallelism()
                                          : internal::require_partitions("parallelize", partitions);
    const std::size_t n = elements.size();
    std::vector<std::shared_ptr<const Block>> blocks;
    for (std::size_t i = 0; i < p; ++i) {
      std::vector<Stored> piece;
      piece.reserve((i + 1) * n / p - i * n / p);
      for (std::size_t at = i * n / p; at < (i + 1) * n / p; ++at) {
        piece.push_back(to_owned(T(std::move(elements[at]))));
      }
      blocks.push_back(internal::make_block(std::move(piece)));
    }
    return Rdd<Stored>(new internal::ParallelizedDataset<Stored>(engine_, std::move(blocks)));
  }
  template <class T>
  Rdd<owned_t<T>> parallelize(std::initializer_list<T> elements, std::uint32_t partitions = 0) {
    return parallelize(std::vector<T>(elements), partitions);
  }

  /// The lines of a text file, or of all files in a directory in the order of their names, without
  /// their ends (\n or \r\n); read on the workers, which must see the same path. At least
  /// `min_partitions` pieces of about equal bytes, each within one file. Throws
  /// Error(kInvalidArgument) if the path does not exist.
  Rdd<std::string> text_file(const std::string& path, std::uint32_t min_partitions = 0);

  /// What `Rdd<T>::save_as_object_file` wrote: a partition for each file of a directory, or one
  /// file. Throws Error(kInvalidArgument) if the path does not exist; jobs fail with both
  /// structures named if it holds elements of another type.
  template <class T>
  Rdd<T> object_file(const std::string& path) {
    return read_partitions(engine_, fn<&internal::read_objects<T>>,
                           internal::data_files("object_file", path), "object_file");
  }

  /// begin, begin + step, ... before `end` (after it, if step is negative), in `partitions` pieces
  /// of equal length; 0: the default parallelism. Nothing is shipped. Throws
  /// Error(kInvalidArgument) for step 0.
  Rdd<std::int64_t> range(std::int64_t begin, std::int64_t end, std::int64_t step = 1,
                          std::uint32_t partitions = 0);

  /// A dataset without partitions.
  template <class T>
  Rdd<T> empty_rdd() {
    return union_of(std::vector<Rdd<T>>{});
  }

  /// All elements of all datasets, see Rdd::union_with.
  template <class T>
  Rdd<T> union_of(const std::vector<Rdd<T>>& rdds) {
    std::vector<std::shared_ptr<internal::DatasetBase>> parents;
    parents.reserve(rdds.size());
    for (const Rdd<T>& rdd : rdds) parents.push_back(rdd.dataset().base());
    return Rdd<T>(new internal::UnionDataset<T>(engine_, parents));
  }
  template <class T>
  Rdd<T> union_of(std::initializer_list<Rdd<T>> rdds) {
    return union_of(std::vector<Rdd<T>>(rdds));
  }

  /// A value for tasks to read, sent to each worker once; see Broadcast. T must be serializable.
  template <class T>
  Broadcast<owned_t<T>> broadcast(T value) {
    using Stored = owned_t<T>;
    internal::require_storable<Stored>();
    auto kept = std::make_shared<const Stored>(to_owned(std::move(value)));
    auto data = std::make_shared<internal::BroadcastData>(engine_, encode_bytes(*kept).view());
    return Broadcast<Stored>(std::move(kept), std::move(data));
  }

  /// A sum that begins as `zero`, for tasks to add to with `+=` or `merge(T& sum, const T& more)`,
  /// a lambda written []; see Accumulator. `name` is what events call it.
  template <class T, class Merge = internal::AddTo>
  Accumulator<owned_t<T>, Merge> accumulator(std::string name, T zero, Merge = {}) {
    static_assert(internal::is_stateless<Merge>,
                  "accumulator: the function that merges must capture nothing");
    using Stored = owned_t<T>;
    internal::require_storable<Stored>();
    auto driver = std::make_shared<internal::Accumulated<Stored, Merge>>(
        engine_->next_accumulator_id(), std::move(name), to_owned(std::move(zero)));
    engine_->add_accumulator(driver);
    return Accumulator<Stored, Merge>(std::move(driver));
  }

  /// Where `Rdd::checkpoint` puts files: a directory that driver and workers see under the same
  /// path; it is made. Each context uses a folder of its own in it, which stays when it ends.
  /// Throws Error(kUnreachable) if it cannot be made.
  void set_checkpoint_dir(const std::string& directory) { engine_->set_checkpoint_dir(directory); }

  /// How many partitions datasets get that are given no number.
  std::uint32_t default_parallelism() const { return engine_->default_parallelism(); }
  const Config& config() const { return engine_->config(); }

  /// Told of workers, stages and tasks from now on.
  void add_listener(std::shared_ptr<Listener> listener) {
    engine_->add_listener(std::move(listener));
  }
  void remove_listener(const std::shared_ptr<Listener>& listener) {
    engine_->remove_listener(listener);
  }

  /// Cancels running jobs and ends the workers; idempotent.
  void stop() { engine_->stop(); }
  bool stopped() const { return engine_->stopped(); }

  const std::shared_ptr<Engine>& engine() const { return engine_; }

 private:
  std::shared_ptr<Engine> engine_;
};

}  // namespace weir
