#pragma once

#include <functional>
#include <thread>

namespace weir {

/// A thread on which no signal handler of the program runs, and no call is interrupted: all signals
/// are blocked there but those of a fault of its own. Our threads are like this in the driver and
/// in workers, as libzmq's are; only a worker's slots, which run user code, are open to signals.
std::jthread quiet_thread(std::function<void()> body);

}  // namespace weir
