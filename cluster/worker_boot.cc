#include "weir/cluster/worker_boot.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "weir/core/archive.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir {
namespace {

constexpr const char* kDriverSocket = "driver";
constexpr const char* kHeartbeatSocket = "beat";
constexpr std::uint64_t kMaxBootBytes = 60 * 1024;  // a pipe holds 64 KiB without a reader

void read_exactly(int descriptor, void* to, std::size_t size) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = read(descriptor, at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{} is set, but what it names does not say what a worker needs; only "
                              "the framework sets it",
                              kWorkerRoleVariable));
    }
    at += got;
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace

std::string pack(const WorkerBoot& boot) {
  const std::string content = encode(boot);
  if (content.size() > kMaxBootBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the settings take {} bytes; workers can be handed {}", content.size(),
                            kMaxBootBytes));
  }
  return encode(std::uint64_t{content.size()}) + encode(hash_bytes(content)) + content;
}

WorkerBoot read_worker_boot(int descriptor) {
  std::uint64_t length = 0;
  std::uint64_t hash = 0;
  read_exactly(descriptor, &length, sizeof length);
  read_exactly(descriptor, &hash, sizeof hash);
  std::string content(std::min(length, kMaxBootBytes), '\0');
  read_exactly(descriptor, content.data(), content.size());
  if (length != content.size() || hash_bytes(content) != hash) {
    throw Error(ErrorCode::kCorrupt, "what the driver handed to this worker process is damaged");
  }
  return decode<WorkerBoot>(content);
}

std::string driver_endpoint(const std::string& directory) {
  return fmt::format("ipc://{}/{}", directory, kDriverSocket);
}

std::string heartbeat_endpoint(const std::string& directory) {
  return fmt::format("ipc://{}/{}", directory, kHeartbeatSocket);
}

std::string exchange_endpoint(const std::string& directory, WorkerId worker) {
  return "ipc://" + exchange_path(directory, worker);
}

std::string exchange_path(const std::string& directory, WorkerId worker) {
  return fmt::format("{}/{}.{}", directory, worker.slot, worker.incarnation);
}

bool is_socket_name(std::string_view name) {
  if (name == kDriverSocket || name == kHeartbeatSocket) return true;
  const std::size_t dot = name.find('.');
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  return dot != std::string_view::npos && is_number(name.substr(0, dot)) &&
         is_number(name.substr(dot + 1));
}

}  // namespace weir
