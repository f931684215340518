#pragma once

namespace weir::internal {

/// A hint that the cache line at `address` is read soon; the address need not be valid.
///
/// A function that does nothing but prefetch passes for one without effects, and gcc 12 drops the
/// calls of it. The empty statement says that there is one.
inline void prefetch(const void* address) {
  __builtin_prefetch(address);
  asm volatile("");
}

}  // namespace weir::internal
