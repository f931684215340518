#include "weir/cluster/frame.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "weir/core/error.h"
#include "weir/core/hash.h"

namespace weir {

static_assert(std::endian::native == std::endian::little, "frames are little-endian");

namespace {

constexpr std::uint32_t kMagic = 0x52494557;  // "WEIR"
constexpr std::uint16_t kVersion = 3;

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr std::size_t kLargestCap = 1024 * kMiB;

constexpr std::size_t kTypeAt = 6;
constexpr std::size_t kLengthAt = 8;
constexpr std::size_t kEpochAt = 16;
constexpr std::size_t kTokenAt = 24;
constexpr std::size_t kHashAt = 40;

template <class T>
T read_at(std::string_view frame, std::size_t offset) {
  T value;
  std::memcpy(&value, frame.data() + offset, sizeof value);
  return value;
}

template <class T>
void write_at(std::string& frame, std::size_t offset, const T& value) {
  std::memcpy(frame.data() + offset, &value, sizeof value);
}

std::uint64_t frame_hash(std::string_view frame) {
  return hash_bytes(frame.substr(kFrameHeaderBytes), hash_bytes(frame.substr(0, kHashAt)));
}

bool same_token(std::string_view frame, const FrameKey& key) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < key.token.size(); ++i) {
    difference |= static_cast<unsigned char>(frame[kTokenAt + i]) ^ unsigned { key.token[i] };
  }
  return difference == 0;
}

}  // namespace

std::size_t max_frame_bytes() { return kFrameHeaderBytes + kLargestCap; }

std::size_t payload_cap(MessageType type) {
  switch (type) {
    case MessageType::kOpen:
    case MessageType::kOpened:
    case MessageType::kHeartbeatReply:
    case MessageType::kCancel:
    case MessageType::kSettled:
    case MessageType::kPeerLost:
    case MessageType::kUnknownStage: return 1 * kKiB;
    case MessageType::kRefused:
    case MessageType::kShutdown:
    case MessageType::kHeartbeat:
    case MessageType::kFetchRequest:
    case MessageType::kFetchChunk:  // the header of the data, which is a part of its own
    case MessageType::kFetchError:
    case MessageType::kPutDone: return 64 * kKiB;
    case MessageType::kRegister:
    case MessageType::kRegistered:
    case MessageType::kRelease:
    case MessageType::kReport:
    case MessageType::kTell:
    case MessageType::kPutBlock: return 1 * kMiB;
    case MessageType::kLaunch:
    case MessageType::kOutcome: return kLargestCap;
  }
  return 0;
}

void seal_frame(std::string& frame, MessageType type, const FrameKey& key) {
  const std::size_t length = frame.size() - kFrameHeaderBytes;
  if (length > payload_cap(type)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a message of type {} takes {} bytes; the limit is {}",
                            static_cast<int>(type), length, payload_cap(type)));
  }
  write_at(frame, 0, kMagic);
  write_at(frame, sizeof kMagic, kVersion);
  write_at(frame, kTypeAt, type);
  write_at(frame, kLengthAt, std::uint64_t{length});
  write_at(frame, kEpochAt, key.epoch);
  write_at(frame, kTokenAt, key.token);
  write_at(frame, kHashAt, frame_hash(frame));
}

const char* to_string(FrameFault fault) {
  switch (fault) {
    case FrameFault::kTooShort: return "shorter than a header";
    case FrameFault::kMagic: return "not a frame";
    case FrameFault::kVersion: return "another version";
    case FrameFault::kType: return "unknown type";
    case FrameFault::kLength: return "wrong length";
    case FrameFault::kToken: return "not authenticated";
    case FrameFault::kEpoch: return "of another run";
    case FrameFault::kHash: return "corrupt";
  }
  return "?";
}

std::variant<OpenedFrame, FrameFault> open_frame(std::string_view frame, const FrameKey& key) {
  if (frame.size() < kFrameHeaderBytes) return FrameFault::kTooShort;
  if (read_at<std::uint32_t>(frame, 0) != kMagic) return FrameFault::kMagic;
  if (read_at<std::uint16_t>(frame, sizeof kMagic) != kVersion) return FrameFault::kVersion;
  const auto type = MessageType{read_at<std::uint16_t>(frame, kTypeAt)};
  const std::size_t cap = payload_cap(type);
  if (cap == 0) return FrameFault::kType;
  const auto length = read_at<std::uint64_t>(frame, kLengthAt);
  if (length > cap || length != frame.size() - kFrameHeaderBytes) return FrameFault::kLength;
  if (!same_token(frame, key)) return FrameFault::kToken;
  if (read_at<std::uint64_t>(frame, kEpochAt) != key.epoch) return FrameFault::kEpoch;
  if (read_at<std::uint64_t>(frame, kHashAt) != frame_hash(frame)) return FrameFault::kHash;
  return OpenedFrame{type, frame.substr(kFrameHeaderBytes)};
}

}  // namespace weir
