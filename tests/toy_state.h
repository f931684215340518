#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/state/state_table.h"

/// The smallest state that has all that a state has: a sum per key; a sum of 0 deletes the key.
namespace weir::test {

class SumOverlay final : public internal::StateOverlay {
 public:
  struct Sum {
    int key = 0;
    std::int64_t value = 0;
    template <class Archive>
    void serialize(Archive& ar, unsigned) {
      ar & key & value;
    }
  };
  using Sums = std::map<std::uint64_t, Sum>;  // by the key's hash

  SumOverlay() = default;
  explicit SumOverlay(Sums changed) : sums(std::move(changed)) {}
  void write(SlimWriter& out) const override { out& sums; }
  std::uint64_t keys() const override { return sums.size(); }
  std::uint64_t bytes() const override { return sums.size() * sizeof(Sum); }

  Sums sums;
};

class SumTable final : public internal::StateTable {
 public:
  explicit SumTable(const internal::KeyGroups& groups) : groups_(groups) {}

  void fold(const internal::StateOverlay& overlay) override {
    for (const auto& [hash, sum] : dynamic_cast<const SumOverlay&>(overlay).sums) set(hash, sum);
  }
  void fold_delta(SlimReader& in, const internal::KeyGroups& groups) override {
    SumOverlay::Sums sums;
    in & sums;
    in.expect_end();
    for (const auto& [hash, sum] : sums) {
      if (groups.owns(hash)) set(hash, sum);
    }
  }
  void write_group(std::uint32_t group, SlimWriter& out) const override {
    SumOverlay::Sums sums;
    for (const auto& [hash, sum] : sums_) {
      if (groups_.group_of(hash) == group) sums.emplace(hash, sum);
    }
    out & sums;
  }
  void read_group(std::uint32_t group, SlimReader& in) override {
    (void)group;
    fold_delta(in, groups_);
  }
  std::uint64_t keys() const override { return sums_.size(); }
  std::uint64_t bytes() const override { return sums_.size() * sizeof(SumOverlay::Sum); }

  const SumOverlay::Sums& sums() const { return sums_; }

 private:
  void set(std::uint64_t hash, const SumOverlay::Sum& sum) {
    if (sum.value == 0) {
      sums_.erase(hash);
    } else {
      sums_[hash] = sum;
    }
  }

  const internal::KeyGroups groups_;
  SumOverlay::Sums sums_;
};

/// All sums of a version, by key.
inline std::map<int, std::int64_t> sums_of(const internal::StateView& view) {
  SumOverlay::Sums sums = dynamic_cast<const SumTable&>(*view.table).sums();
  for (const internal::StateOverlay* overlay : view.overlays) {
    for (const auto& [hash, sum] : dynamic_cast<const SumOverlay&>(*overlay).sums) {
      sums[hash] = sum;
    }
  }
  std::map<int, std::int64_t> by_key;
  for (const auto& [hash, sum] : sums) {
    if (sum.value != 0) by_key[sum.key] = sum.value;
  }
  return by_key;
}

inline std::optional<std::int64_t> sum_in(const internal::StateView& view, std::uint64_t hash) {
  for (auto at = view.overlays.rbegin(); at != view.overlays.rend(); ++at) {
    const auto& sums = dynamic_cast<const SumOverlay&>(**at).sums;
    if (const auto found = sums.find(hash); found != sums.end()) return found->second.value;
  }
  const auto& sums = dynamic_cast<const SumTable&>(*view.table).sums();
  const auto found = sums.find(hash);
  return found == sums.end() ? std::nullopt : std::optional(found->second.value);
}

}  // namespace weir::test
