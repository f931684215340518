#include "weir/core/error.h"

#include <cxxabi.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <typeinfo>

namespace weir {
namespace {

std::terminate_handler otherwise = nullptr;

[[noreturn]] void on_terminate() {
  try {
    if (const auto uncaught = std::current_exception()) std::rethrow_exception(uncaught);
  } catch (const Error& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "error: %s\n", error.what());
    _exit(exit_code(error.code()));
  } catch (...) {
  }
  if (otherwise != nullptr) otherwise();
  std::abort();
}

}  // namespace

void exit_on_uncaught_errors() {
  if (std::get_terminate() != &on_terminate) otherwise = std::set_terminate(&on_terminate);
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 2;
    case ErrorCode::kUnreachable: return 3;
    case ErrorCode::kNotAllowed: return 5;
    case ErrorCode::kDataLoss: return 6;
    case ErrorCode::kJobFailed:
    case ErrorCode::kStateLost:
    case ErrorCode::kCancelled:
    case ErrorCode::kCorrupt:
    case ErrorCode::kInternal: return 1;
  }
  return 1;
}

int run_main(int (*body)(int, char**), int argc, char** argv) {
  try {
    return body(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return exit_code(error.code());
  } catch (...) {
    std::fprintf(stderr, "error: %s\n", describe_current_exception().c_str());
    return 1;
  }
}

std::string describe_current_exception() {
  try {
    throw;
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status), std::free);
    return std::string(name ? name.get() : "exception") + ": " + error.what();
  } catch (...) {
    return "an exception that is not a std::exception";
  }
}

}  // namespace weir
