#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

/// Frames: what every message between processes of a cluster is wrapped in. The header is written
/// and read by hand, and nothing of the payload is looked at before the header, the length, who
/// sent it and the hash have been checked.
///
///     offset  size  field (little-endian)
///          0     4  magic, "WEIR"
///          4     2  version of this layout
///          6     2  type of the message
///          8     8  length of the payload, at most the type's cap
///         16     8  epoch: the run of the driver that both ends belong to
///         24    16  authentication, see `FrameKey`
///         40     8  XXH3 of the payload, seeded with the XXH3 of bytes 0 to 40
///         48        payload
namespace weir {

enum class MessageType : std::uint16_t {
  // worker to driver
  kOpen = 1,
  kRegister,
  kHeartbeat,
  kOutcome,
  kUnknownStage,
  kReport,
  // driver to worker
  kOpened = 32,
  kRegistered,
  kRefused,
  kHeartbeatReply,
  kLaunch,
  kTell,
  kCancel,
  kSettled,
  kRelease,
  kPeerLost,
  kShutdown,
  // worker to worker
  kFetchRequest = 64,
  kFetchChunk,
  kFetchError,
  kPutBlock,
  kPutDone,
};

/// What the frames of one run of one driver have in common; others are not accepted.
struct FrameKey {
  std::uint64_t epoch = 0;
  /// The place for authentication. Over the sockets of a private directory it is a random token of
  /// the run, handed to workers through an inherited pipe: it keeps out what strayed in, such as a
  /// worker of an earlier driver, and is compared in constant time. A transport that strangers can
  /// reach needs more: a message authentication code of the frame under the run's secret here, or
  /// CURVE.
  std::array<unsigned char, 16> token{};
};

inline constexpr std::size_t kFrameHeaderBytes = 48;
/// The longest frame of any type, header included: the limit to set on sockets.
std::size_t max_frame_bytes();
/// The longest payload of a type; 0 if there is no such type.
std::size_t payload_cap(MessageType type);

/// Fills in the header of `frame`, which has `kFrameHeaderBytes` of anything and then the payload.
/// Throws Error(kInvalidArgument) if the payload is longer than its type's cap.
void seal_frame(std::string& frame, MessageType type, const FrameKey& key);

/// Why a frame was not accepted, in the order of the checks.
enum class FrameFault { kTooShort, kMagic, kVersion, kType, kLength, kToken, kEpoch, kHash };
const char* to_string(FrameFault fault);

struct OpenedFrame {
  MessageType type{};
  std::string_view payload;  ///< inside the bytes that were given
};
/// Checks everything that can be checked without looking at the payload's meaning.
std::variant<OpenedFrame, FrameFault> open_frame(std::string_view frame, const FrameKey& key);

}  // namespace weir
