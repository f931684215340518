#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "weir/cluster/frame.h"
#include "weir/core/archive.h"
#include "weir/core/loader.h"
#include "weir/core/task.h"

/// What the processes of a cluster say to each other. README.md tells the conversation; any message
/// but those of "opening a channel" may be lost, doubled, late or out of order. A namespace of
/// their own, because they are called by everyday words.
namespace weir::wire {

/// Where and when an attempt was put: the `sequence`-th launch of that slot of its worker. A slot
/// has one launch outstanding, so a launch with a higher sequence says that all before it are
/// settled. (Place for a queue of several per slot: it would add the lowest sequence that is not
/// settled.)
struct LaunchId {
  std::uint32_t slot = 0;
  std::uint64_t sequence = 0;
  AttemptId attempt = 0;

  bool operator==(const LaunchId&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & slot & sequence & attempt;
  }
};

// --- opening a channel: transport only, before anything else on a slot's socket ---

struct Open {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};
struct Opened {
  template <class Archive>
  void serialize(Archive&, unsigned) {}
};

// --- worker to driver ---

/// Repeated until answered with `Registered` or `Refused`.
/// How the slots of a worker are numbered: the first of each thread that runs tasks; then those for
/// resident tasks, which have a thread each; then `ahead` more of each of the former, for what it
/// is sent before it has ended the one before. A thread runs what it is sent in that order, and
/// each slot has one launch at a time.
struct SlotLayout {
  std::uint32_t threads = 0;
  std::uint32_t resident = 0;
  std::uint32_t ahead = 0;

  std::uint32_t slots() const { return num_threads() + ahead * threads; }
  /// With those of resident tasks, which are numbered behind the others.
  std::uint32_t num_threads() const { return threads + resident; }
  std::uint32_t slots_of(std::uint32_t thread) const { return thread < threads ? 1 + ahead : 1; }
  /// Slot i of a thread, those for resident tasks too.
  std::uint32_t slot_of(std::uint32_t thread, std::uint32_t i) const {
    return i == 0 ? thread : resident + i * threads + thread;
  }
  std::uint32_t thread_of(std::uint32_t slot) const {
    return slot < num_threads() ? slot : (slot - resident) % threads;
  }
};

struct Register {
  WorkerId worker;
  std::int64_t pid = 0;
  std::uint32_t slots = 0;
  std::vector<ModuleId> modules;  ///< everything that can hold shipped code, by build id
  std::string shuffle_endpoint;   ///< where other workers fetch what it keeps
  /// More slots, for resident tasks, numbered behind the others.
  std::uint32_t resident_slots = 0;
  std::uint32_t slots_ahead = 0;  ///< of each of the first `slots`, see SlotLayout

  SlotLayout layout() const { return {slots, resident_slots, slots_ahead}; }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker & pid & slots & modules & shuffle_endpoint & resident_slots & slots_ahead;
  }
};

/// One slot as its worker sees it.
struct SlotStatus {
  std::uint64_t sequence = 0;  ///< of the last launch it accepted; 0: none yet
  AttemptId attempt = 0;       ///< of that launch
  bool running = false;
  bool unsettled = false;   ///< it has ended, and nobody has said that the outcome arrived
  std::uint64_t steps = 0;  ///< progress of the running attempt

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & sequence & attempt & running & unsettled & steps;
  }
};

/// All that the worker holds, every heartbeat interval, whatever else gets lost.
struct Heartbeat {
  WorkerId worker;
  std::uint64_t sequence = 0;  ///< counts up, so that a late one is recognised
  SteadyTime echo{};  ///< the latest time of the driver's that it had been told when it sent this
  std::uint64_t releases = 0;  ///< `Release`s 1 to this have been carried out
  std::uint64_t rss_bytes = 0;
  std::vector<SlotStatus> slots;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker & sequence & echo & releases & rss_bytes & slots;
  }
};

/// Repeated until settled.
struct Outcome {
  LaunchId launch;
  TaskOutcome outcome;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch & outcome;
  }
};

/// The launch named a stage that the worker does not hold: send it again with the stage's bytes.
struct UnknownStage {
  LaunchId launch;
  StageHash stage = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch & stage;
  }
};

/// A resident task says something. May be lost: it says it again.
struct Report {
  LaunchId launch;
  Bytes report;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch & report;
  }
};

// --- driver to worker ---

struct Registered {
  SteadyTime driver_time{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & driver_time;
  }
};
struct Refused {
  std::string reason;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & reason;
  }
};
/// Answers every heartbeat at once, from the driver's heartbeat thread.
struct HeartbeatReply {
  SteadyTime driver_time{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & driver_time;
  }
};

/// Frees map outputs, stored blocks and state; repeated until a heartbeat says that it was carried
/// out.
struct Release {
  std::uint64_t sequence = 0;  ///< counts 1, 2, ... for each worker; 0: nothing to release
  std::vector<ShuffleId> shuffles;
  std::vector<DatasetId> datasets;
  std::vector<StateId> states;
  /// What attempts up to this one still leave of the datasets is to be freed too; a dataset may be
  /// persisted again by later ones.
  AttemptId last_attempt = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & sequence & shuffles & datasets & states & last_attempt;
  }
};
/// A worker that holds map outputs which the task may have to fetch.
struct Peer {
  WorkerId worker;
  std::string endpoint;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker & endpoint;
  }
};

/// An attempt, complete: whoever holds it can run it. `task` is shared with the sender's books. Its
/// `program` carries bytes only if `with_program`; the driver's placement (`preferred`,
/// `sticky`) stays behind.
struct Launch {
  LaunchId launch;
  bool with_program = false;
  std::shared_ptr<const TaskSpec> task;
  std::vector<Peer> peers;
  Release release;  ///< carried along, for after the task: it costs no wake-up of its own

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    if constexpr (Archive::is_saving::value) {
      save(ar);
    } else {
      load(ar);
    }
  }

 private:
  void save(SlimWriter& ar) const;
  void load(SlimReader& ar);
};
/// Something for a resident task, which may be lost too; and all other workers, for its copies.
struct Tell {
  LaunchId launch;
  Bytes message;
  std::vector<Peer> peers;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch & message & peers;
  }
};
struct Cancel {
  LaunchId launch;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch;
  }
};
/// The driver wants nothing more of this launch; the worker may forget its outcome.
struct Settled {
  LaunchId launch;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & launch;
  }
};
/// Nothing can be fetched from that worker any more.
struct PeerLost {
  WorkerId worker;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & worker;
  }
};
/// End the process. What runs may finish and be reported for `drain`, to be refused and counted.
struct Shutdown {
  std::string reason;
  Duration drain{};

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & reason & drain;
  }
};

// --- worker to worker ---

/// Asks for pieces of map outputs. The reducer asks only for what it has room for: its outstanding
/// ranges are the server's credit, and the server keeps nothing between requests.
struct FetchRequest {
  struct Range {
    std::uint32_t map_partition = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    template <class Archive>
    void serialize(Archive& ar, unsigned) {
      ar & map_partition & offset & length;
    }
  };
  std::uint64_t fetch = 0;  ///< told back in answers; never used twice on a socket
  ShuffleId shuffle = 0;
  std::uint32_t reduce_partition = 0;
  std::vector<Range> ranges;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & fetch & shuffle & reduce_partition & ranges;
  }
};
/// One range; the bytes follow as a message part of their own, covered by the segment's hash.
struct FetchChunk {
  std::uint64_t fetch = 0;
  FetchRequest::Range range;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & fetch & range;
  }
};
struct FetchError {
  std::uint64_t fetch = 0;
  std::uint32_t map_partition = 0;
  std::string message;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & fetch & map_partition & message;
  }
};

/// A piece of a block of which the other worker is to keep a copy. Pieces come in order;
/// the last one is answered with `PutDone`.
struct PutBlock {
  std::uint64_t put = 0;  ///< told back in the answer; never used twice on a socket
  ShuffleId receiver = 0;
  std::uint32_t number = 0;
  std::uint64_t size = 0;  ///< of the block; it is at most kMaxBlockBytes
  std::uint64_t hash = 0;  ///< XXH3 of the block
  std::uint64_t offset = 0;
  Bytes piece;
  std::uint32_t release_before = 0;  ///< copies of blocks before this one are not needed any more
  /// How it is kept, if it is not a receiver's but partition `number` of the persisted dataset
  /// `receiver`; else kNone.
  StorageLevel level = StorageLevel::kNone;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & put & receiver & number & size & hash & offset & piece & release_before & level;
  }
};
inline constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 30;
/// Answers what completes a block, or cannot be part of one.
struct PutDone {
  std::uint64_t put = 0;
  std::string failure;  ///< empty: the copy is kept

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & put & failure;
  }
};

using ToDriver = std::variant<Open, Register, Heartbeat, Outcome, UnknownStage, Report>;
using ToWorker = std::variant<Opened, Registered, Refused, HeartbeatReply, Launch, Tell, Cancel,
                              Settled, Release, PeerLost, Shutdown>;
using ExchangeRequest = std::variant<FetchRequest, PutBlock>;
using ExchangeAnswer = std::variant<FetchChunk, FetchError, PutDone>;

/// The message as a sealed frame. Throws Error(kInvalidArgument) if it is longer than its type's
/// cap.
std::string to_frame(const ToDriver& message, const FrameKey& key);
std::string to_frame(const ToWorker& message, const FrameKey& key);
std::string to_frame(const ExchangeRequest& message, const FrameKey& key);
std::string to_frame(const ExchangeAnswer& message, const FrameKey& key);

/// What an opened frame says, if it is one that the reader may be sent. Throws Error(kCorrupt).
/// Defined for ToDriver, ToWorker, ExchangeRequest and ExchangeAnswer.
template <class Messages>
Messages from_frame(const OpenedFrame& frame);

/// A short name, for logs and traces.
const char* name_of(const ToDriver& message);
const char* name_of(const ToWorker& message);

}  // namespace weir::wire
