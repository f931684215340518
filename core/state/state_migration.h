#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/core/source_rdd.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/state/keyed_table.h"
#include "weir/core/state/signature.h"
#include "weir/core/state/state_restore.h"
#include "weir/core/task_run.h"

/// State that an earlier program wrote with another type, made into that of this one.
namespace weir {

namespace internal {

/// A partition of a state as it was written, and how it is to be read.
struct WrittenState {
  std::string directory;  ///< absolute
  KeyGroups groups;
  std::uint64_t sequence = 0;  ///< the version
  std::vector<StateStep> steps;
  bool timed = false;  ///< whether the state times out

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & directory & groups & sequence & steps & timed;
  }
};

/// From one structure of a state to the program's.
struct StateMigration {
  std::string from;  ///< the fingerprint
  bool timed = false;
  /// A snapshot of each partition, in a new file that is not synced yet; in their order. Runs a
  /// job; throws what that throws.
  std::function<std::vector<StateStep>(const std::shared_ptr<Engine>&, std::vector<WrittenState>)>
      run;
};

/// Reads what was written with `make_table`, and writes the table that `convert` makes of that.
/// Throws Error(kDataLoss) if a file is missing or damaged.
StateStep rewrite_state(
    const WrittenState& written, const MakeStateTable& make_table,
    const std::function<std::unique_ptr<StateTable>(const StateTable&)>& convert,
    const std::function<void()>& step);

template <class F>
concept MigrationFunction = SpelledOut<F> &&
    (ParametersOf<F>::type::kCount == 1 || ParametersOf<F>::type::kCount == 2);
template <class F>
using last_parameter_t =
    std::decay_t<typename ParametersOf<F>::type::template at<ParametersOf<F>::type::kCount - 1>>;

/// A worker's part of a migration from states of type Old.
template <class K, class Old, class S, class F>
struct MigrateState : FunctionHolder<F> {
  std::vector<StateStep> operator()(const WrittenState& written) const {
    const auto step = [&run = TaskRun::current()] { run.step(); };
    const auto make_table = [&](const KeyGroups& groups) {
      return std::make_unique<KeyedTable<K, Old>>(groups, written.timed);
    };
    const auto convert = [&](const StateTable& table) -> std::unique_ptr<StateTable> {
      return std::make_unique<KeyedTable<K, S>>(
          static_cast<const KeyedTable<K, Old>&>(table).template converted<S>(
              [&](const K& key, const Old& state) -> S {
                step();
                if constexpr (ParametersOf<F>::type::kCount == 1) {
                  return this->function(state);
                } else {
                  return this->function(key, state);
                }
              }));
    };
    return {rewrite_state(written, make_table, convert, step)};
  }
};

}  // namespace internal

/// How the states of earlier versions of a program become S, by their types:
///
///     StateMigrations<std::string, Totals>()
///         .from([](const std::int64_t& sum) { return Totals{sum, 0}; })
///
/// When the program is started from a checkpoint whose state has the structure of such a type, all
/// of it is made into S before the first batch, in a job, and a CHECKPOINT with it written; keys
/// stay in their order and as old as they were. Until then the former program can be started as if
/// nothing had happened, afterwards the migration is not needed any more. The former program must
/// have been stopped gracefully, so that no batch of it is left to be run.
template <class K, class S>
class StateMigrations {
 public:
  /// `f(const Old&)` or `f(const K&, const Old&)` returns S; it runs in workers. Old must be
  /// default-constructible and serializable, as it was then.
  template <class F>
  StateMigrations& from(F f) {
    WEIR_REQUIRE_SHIPPABLE(F);
    static_assert(
        internal::MigrationFunction<F>,
        "a migration takes f(const Old&) -> S or f(const K&, const Old&) -> S, with every "
        "parameter type spelled out (no auto): the former type is deduced from them");
    using Old = internal::last_parameter_t<F>;
    all_.push_back({internal::fingerprint<std::pair<K, Old>>(), false,
                    [f = std::move(f)](const std::shared_ptr<Engine>& engine,
                                       std::vector<internal::WrittenState> written) {
                      return read_partitions(engine, internal::MigrateState<K, Old, S, F>{{f}},
                                             std::move(written), "migrate_state")
                          .collect();
                    }});
    return *this;
  }

  /// Of a state that times out, if `timed`.
  std::vector<internal::StateMigration> all(bool timed) const {
    auto migrations = all_;
    for (internal::StateMigration& each : migrations) each.timed = timed;
    return migrations;
  }

 private:
  std::vector<internal::StateMigration> all_;
};

}  // namespace weir
