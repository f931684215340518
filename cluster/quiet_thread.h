#pragma once

#include <functional>
#include <thread>

namespace weir {

/// A thread on which no signal handler of the program runs, and no call is interrupted: all signals
/// are blocked there but those of a fault of its own. Our threads are like this, as libzmq's are;
/// open to signals are only a worker's main thread and its slots, which run user code.
std::jthread quiet_thread(std::function<void()> body);

}  // namespace weir
