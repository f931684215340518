#pragma once

#include <memory>
#include <string>
#include <utility>

#include "weir/core/bytes.h"
#include "weir/core/dataset.h"
#include "weir/core/error.h"
#include "weir/core/function.h"

namespace weir {

template <class Signature>
class Function;

/// A shippable function (function.h) whose type is not part of its holder's: what options structs
/// hold. May be empty; calling an empty one throws Error(kInvalidArgument). Immutable; calls from
/// several threads at once reach the same function object, as `const`.
template <class R, class... Args>
class Function<R(Args...)> {
 public:
  Function() = default;
  template <class F>
  requires(!std::is_same_v<F, Function> && std::is_invocable_r_v<R, const F&, Args...>)
      Function(F function)  // NOLINT: what an option is given
      : held_(std::make_shared<Held<F>>(std::move(function))) {
    WEIR_REQUIRE_SHIPPABLE(F);
  }

  explicit operator bool() const { return held_ != nullptr; }
  R operator()(Args... args) const {
    if (held_ == nullptr) {
      throw Error(ErrorCode::kInvalidArgument, "an empty weir::Function was called");
    }
    return held_->call(std::forward<Args>(args)...);
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    bool is_held = held_ != nullptr;
    ar & is_held;
    if (!is_held) return;
    CodeId code;
    std::string fields;
    if constexpr (Archive::is_saving::value) {
      code = held_->code();
      SlimWriter out;
      held_->write(out);
      fields = out.view();
    }
    ar & code & fields;
    if constexpr (!Archive::is_saving::value) {
      SlimReader in(fields);
      StageReader reader({}, {}, in);
      held_ = std::dynamic_pointer_cast<const Callable>(
          std::shared_ptr<internal::StageNode>(internal::find_loader(code)(reader)));
      in.expect_end();
      if (held_ == nullptr) {
        throw Error(ErrorCode::kCorrupt, "a function in a stage has another signature");
      }
    }
  }

 private:
  /// Found again by its code, as the nodes of a stage are.
  struct Callable : internal::StageNode {
    virtual R call(Args... args) const = 0;
  };
  template <class F>
  struct Held final : Callable {
    explicit Held(F f) : function(std::move(f)) {}
    explicit Held(StageReader& in) : function(internal::read_function<F>(in.bytes())) {}

    static std::unique_ptr<internal::StageNode> load(StageReader& in) {
      return std::unique_ptr<internal::StageNode>(new Held(in));
    }
    CodeId code() const override {
      (void)internal::Registered<Held>::value;
      return internal::code_id(&Held::load);
    }
    void write(SlimWriter& out) const override { internal::write_function(out, function); }
    R call(Args... args) const override { return function(std::forward<Args>(args)...); }

    const F function;
  };

  std::shared_ptr<const Callable> held_;
};

}  // namespace weir
