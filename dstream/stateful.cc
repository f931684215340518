#include "weir/dstream/stateful.h"

#include <algorithm>

#include "weir/core/error.h"

namespace weir::internal {
namespace {

std::string listed(const std::vector<OperatorIdentity>& operators) {
  if (operators.empty()) return "none";
  std::string text;
  for (const OperatorIdentity& each : operators) {
    text += (text.empty() ? "" : ", ") + each.uid + " (" + each.kind + " of " + each.fingerprint +
            (each.is_named ? ")" : ", without .uid)");
  }
  return text;
}

std::vector<OperatorIdentity> unnamed(const std::vector<OperatorIdentity>& operators) {
  std::vector<OperatorIdentity> some;
  std::ranges::copy_if(operators, std::back_inserter(some),
                       [](const OperatorIdentity& each) { return !each.is_named; });
  return some;
}

}  // namespace

void require_same_operators(const std::vector<OperatorIdentity>& recorded,
                            const std::vector<OperatorIdentity>& current,
                            const std::vector<std::string>& dropped) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kDataLoss, why + "; in the checkpoint: " + listed(recorded) +
                                          "; in the program: " + listed(current));
  };
  const auto is_dropped = [&](const std::string& uid) {
    return std::ranges::count(dropped, uid) != 0 &&
           std::ranges::count(current, uid, &OperatorIdentity::uid) == 0;
  };
  // Their uids are kind and order: one that goes must be the last, or the rest would move up.
  auto before = unnamed(recorded);
  std::erase_if(before, [&](const OperatorIdentity& each) { return is_dropped(each.uid); });
  const auto now = unnamed(current);
  const bool same =
      std::ranges::equal(before, now, {}, &OperatorIdentity::uid, &OperatorIdentity::uid);
  if (!same) {
    refuse(
        "the stateful operators without .uid changed in number, order or kind, so that their state "
        "cannot be told apart; give them back their order, or a .uid from the beginning (to drop "
        "the last of them, name it in --weir.drop-state)");
  }
  for (const OperatorIdentity& each : recorded) {
    const auto found = std::ranges::find(current, each.uid, &OperatorIdentity::uid);
    if (found == current.end()) {
      if (is_dropped(each.uid)) continue;
      refuse("the stateful operator " + each.uid +
             " is no more in the program and its state would be lost; to drop it, start with "
             "--weir.drop-state=" +
             each.uid);
    }
    if (found->kind != each.kind || found->fingerprint != each.fingerprint) {
      refuse(
          "the state of operator " + each.uid + " changed from " + each.kind + " of " +
          each.fingerprint + " to " + found->kind + " of " + found->fingerprint +
          " and cannot be read; say how one becomes the other (StateSpec::migrate, or .migrations "
          "of update_state_by_key), give the operator another .uid to begin with an empty state, "
          "or change it back");
    }
  }
}

}  // namespace weir::internal
