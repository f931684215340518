#include "weir/cluster/messages.h"

#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/storage/block_store.h"

namespace weir::wire {
namespace {

template <class T>
constexpr MessageType type_of() {
  if constexpr (std::is_same_v<T, Open>) return MessageType::kOpen;
  if constexpr (std::is_same_v<T, Register>) return MessageType::kRegister;
  if constexpr (std::is_same_v<T, Heartbeat>) return MessageType::kHeartbeat;
  if constexpr (std::is_same_v<T, Outcome>) return MessageType::kOutcome;
  if constexpr (std::is_same_v<T, UnknownStage>) return MessageType::kUnknownStage;
  if constexpr (std::is_same_v<T, Report>) return MessageType::kReport;
  if constexpr (std::is_same_v<T, Opened>) return MessageType::kOpened;
  if constexpr (std::is_same_v<T, Registered>) return MessageType::kRegistered;
  if constexpr (std::is_same_v<T, Refused>) return MessageType::kRefused;
  if constexpr (std::is_same_v<T, HeartbeatReply>) return MessageType::kHeartbeatReply;
  if constexpr (std::is_same_v<T, Launch>) return MessageType::kLaunch;
  if constexpr (std::is_same_v<T, Tell>) return MessageType::kTell;
  if constexpr (std::is_same_v<T, Cancel>) return MessageType::kCancel;
  if constexpr (std::is_same_v<T, Settled>) return MessageType::kSettled;
  if constexpr (std::is_same_v<T, Release>) return MessageType::kRelease;
  if constexpr (std::is_same_v<T, PeerLost>) return MessageType::kPeerLost;
  if constexpr (std::is_same_v<T, Shutdown>) return MessageType::kShutdown;
  if constexpr (std::is_same_v<T, FetchRequest>) return MessageType::kFetchRequest;
  if constexpr (std::is_same_v<T, FetchChunk>) return MessageType::kFetchChunk;
  if constexpr (std::is_same_v<T, FetchError>) return MessageType::kFetchError;
  if constexpr (std::is_same_v<T, PutBlock>) return MessageType::kPutBlock;
  if constexpr (std::is_same_v<T, PutDone>) return MessageType::kPutDone;
}

template <class T>
std::string seal(const T& message, const FrameKey& key) {
  SlimWriter writer;
  writer.extend(kFrameHeaderBytes);
  writer & message;
  std::string frame(writer.view());
  seal_frame(frame, type_of<T>(), key);
  return frame;
}

/// Tries the alternatives of `Messages` one by one; false if none has the frame's type.
template <class Messages, std::size_t... I>
bool open_as(const OpenedFrame& frame, Messages& message, std::index_sequence<I...>) {
  return ((frame.type == type_of<std::variant_alternative_t<I, Messages>>() &&
           (message = decode<std::variant_alternative_t<I, Messages>>(frame.payload), true)) ||
          ...);
}

/// Task inputs and all else that a worker needs of a task, but not its program.
template <class Archive, class Task>
void serialize_task(Archive& ar, Task& task) {
  ar & task.attempt & task.job & task.stage & task.partition & task.attempt_number & task.cached;
  ar & task.inputs_withheld & task.writes_shuffle & task.hash_seed & task.batch & task.batch_time;
  ar & task.job_bytes & task.states & task.resident;
}

}  // namespace

void Launch::save(SlimWriter& ar) const {
  ar & launch & with_program;
  serialize_task(ar, *task);
  ar & task->program->hash&(with_program ? task->program->bytes : Bytes());
  ar.put_length(task->inputs.size());
  for (const LeafInput& input : task->inputs) {
    if (input.block != nullptr && input.bytes.empty()) {
      LeafInput here = input;  // a block of the driver's process crosses as its bytes
      here.bytes = here.block->encode();
      ar & here;
    } else {
      ar & input;
    }
  }
  ar & peers & release;
}

void Launch::load(SlimReader& ar) {
  ar & launch & with_program;
  auto received = std::make_shared<TaskSpec>();
  serialize_task(ar, *received);
  auto program = std::make_shared<StageProgram>();
  ar & program->hash & program->bytes;
  received->program = std::move(program);
  ar & received->inputs& peers& release;
  task = std::move(received);
}

std::string to_frame(const ToDriver& message, const FrameKey& key) {
  return std::visit([&](const auto& held) { return seal(held, key); }, message);
}
std::string to_frame(const ToWorker& message, const FrameKey& key) {
  return std::visit([&](const auto& held) { return seal(held, key); }, message);
}
std::string to_frame(const ExchangeRequest& message, const FrameKey& key) {
  return std::visit([&](const auto& held) { return seal(held, key); }, message);
}
std::string to_frame(const ExchangeAnswer& message, const FrameKey& key) {
  return std::visit([&](const auto& held) { return seal(held, key); }, message);
}

template <class Messages>
Messages from_frame(const OpenedFrame& frame) {
  Messages message;
  if (!open_as(frame, message, std::make_index_sequence<std::variant_size_v<Messages>>())) {
    throw Error(ErrorCode::kCorrupt, fmt::format("a message of type {} was sent to the wrong end",
                                                 static_cast<int>(frame.type)));
  }
  return message;
}
template ToDriver from_frame<ToDriver>(const OpenedFrame&);
template ToWorker from_frame<ToWorker>(const OpenedFrame&);
template ExchangeRequest from_frame<ExchangeRequest>(const OpenedFrame&);
template ExchangeAnswer from_frame<ExchangeAnswer>(const OpenedFrame&);

const char* name_of(const ToDriver& message) {
  constexpr const char* kNames[] = {"Open",    "Register",     "Heartbeat",
                                    "Outcome", "UnknownStage", "Report"};
  static_assert(std::size(kNames) == std::variant_size_v<ToDriver>);
  return kNames[message.index()];
}

const char* name_of(const ToWorker& message) {
  constexpr const char* kNames[] = {"Opened",  "Registered", "Refused", "HeartbeatReply",
                                    "Launch",  "Tell",       "Cancel",  "Settled",
                                    "Release", "PeerLost",   "Shutdown"};
  static_assert(std::size(kNames) == std::variant_size_v<ToWorker>);
  return kNames[message.index()];
}

}  // namespace weir::wire
