#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "weir/cluster/frame.h"
#include "weir/cluster/messages.h"
#include "weir/cluster/worker_boot.h"
#include "weir/core/error.h"

namespace weir {
namespace {

using namespace std::chrono_literals;

FrameKey key() {
  FrameKey key;
  key.epoch = 0x1122334455667788;
  for (std::size_t i = 0; i < key.token.size(); ++i)
    key.token[i] = static_cast<unsigned char>(i + 1);
  return key;
}

std::string frame_of(MessageType type, const std::string& payload) {
  std::string frame(kFrameHeaderBytes, '\0');
  frame += payload;
  seal_frame(frame, type, key());
  return frame;
}

bool is_accepted(std::string_view frame) {
  return std::holds_alternative<OpenedFrame>(open_frame(frame, key()));
}

FrameFault fault_of(std::string_view frame, const FrameKey& with = key()) {
  const auto opened = open_frame(frame, with);
  const auto* fault = std::get_if<FrameFault>(&opened);
  EXPECT_NE(fault, nullptr);
  return fault != nullptr ? *fault : FrameFault{};
}

std::shared_ptr<const TaskSpec> task() {
  TaskSpec spec;
  spec.attempt = 7;
  spec.job = 3;
  spec.stage = 1;
  spec.partition = 5;
  spec.attempt_number = 2;
  spec.program = std::make_shared<const StageProgram>(StageProgram{99, Bytes("the stage")});
  LeafInput source;
  source.node = 1;
  source.bytes = Bytes("offsets 5 to 9");
  LeafInput shuffle;
  shuffle.node = 2;
  shuffle.is_shuffle = true;
  shuffle.shuffle = 40;
  shuffle.segments = {{0, {1, 2}, 3, 0xabc, Bytes("abc")},
                      {1, {0, 4}, 1 << 20, 0xdef, std::nullopt}};
  spec.inputs = {source, shuffle};
  spec.cached = {{1, 12, {}}, {3, 13, {2}}};
  StateInput state;
  state.node = 2;
  state.state = 3;
  state.partition = 5;
  state.sequence = 17;
  state.directory = "/state";
  state.base_sequence = 16;
  state.history = {{16, false, {"log-1.chg", 8, 20, 0xfed}, 0, 0}};
  spec.states = {state};
  spec.writes_shuffle = 41;
  spec.hash_seed = 1234;
  spec.batch = 17;
  spec.batch_time = Time(1700000000s);
  spec.preferred = {{1, 2}};
  return std::make_shared<const TaskSpec>(spec);
}

std::vector<std::string> a_frame_of_each_message() {
  const wire::LaunchId launch{2, 9, 7};
  const std::vector<wire::ToDriver> to_driver = {
      wire::Open{},
      wire::Register{{1, 2}, 4711, 2, {{5, "/usr/bin/job"}}, "ipc:///run/x/1.2"},
      wire::Heartbeat{{1, 2}, 8, SteadyTime(5s), 3, 1 << 30, {{9, 7, true, false, 1000}, {}}},
      wire::Outcome{launch, Done{Bytes("result"),
                                 MapOutput{{1, 2}, {{0, {1, 2}, 1, 2, Bytes("x")}}},
                                 {{12, 5, 100}},
                                 {{3, 5, 17, 16, {"log-1.chg", 8, 20, 0xfed}, {}, 4, 400, 0, 0}},
                                 {10, 20, 30us},
                                 {{1, Bytes(std::string("added"))}}}},
      wire::Outcome{launch, StateLost{3, 5, 12, "offset 8 of log-1.chg"}},
      wire::Outcome{launch, FetchFailed{40, {0, 4}, {1, 2, 3}, "gone"}},
      wire::Outcome{launch, NeedInputs{}},
      wire::Outcome{launch, Failed{"std::runtime_error: no"}},
      wire::Outcome{launch, Cancelled{}},
      wire::UnknownStage{launch, 99},
      wire::Report{launch, Bytes(std::string("report"))}};
  const std::vector<wire::ToWorker> to_worker = {
      wire::Opened{},
      wire::Registered{SteadyTime(4s)},
      wire::Refused{"another binary"},
      wire::HeartbeatReply{SteadyTime(6s)},
      wire::Launch{launch, true, task(), {{{0, 4}, "ipc:///run/x/0.4"}}, {4, {40}, {}, {3}}},
      wire::Tell{launch, Bytes(std::string("orders")), {{{1, 4}, "ipc:///run/x/1.4"}}},
      wire::Cancel{launch},
      wire::Settled{launch},
      wire::Release{4, {40, 41}, {12}, {3}},
      wire::PeerLost{{0, 4}},
      wire::Shutdown{"the driver stops", 1s}};
  std::vector<std::string> frames;
  for (const auto& message : to_driver) frames.push_back(to_frame(message, key()));
  for (const auto& message : to_worker) frames.push_back(to_frame(message, key()));
  frames.push_back(to_frame(
      wire::ExchangeRequest(wire::FetchRequest{1, 40, 5, {{0, 0, 256}, {1, 256, 44}}}), key()));
  frames.push_back(to_frame(wire::ExchangeAnswer(wire::FetchChunk{1, {0, 0, 256}}), key()));
  frames.push_back(to_frame(wire::ExchangeAnswer(wire::FetchError{1, 3, "not there"}), key()));
  frames.push_back(to_frame(
      wire::ExchangeRequest(wire::PutBlock{2, 40, 5, 5, 99, 0, Bytes(std::string("piece")), 3}),
      key()));
  frames.push_back(to_frame(wire::ExchangeAnswer(wire::PutDone{2, "no"}), key()));
  return frames;
}

template <class Messages, class Message>
Message round_trip(const Message& message) {
  const std::string frame = to_frame(Messages(message), key());
  return std::get<Message>(
      wire::from_frame<Messages>(std::get<OpenedFrame>(open_frame(frame, key()))));
}

TEST(Frame, OpensWhatWasSealed) {
  const std::string frame = frame_of(MessageType::kOutcome, "payload");
  const auto opened = std::get<OpenedFrame>(open_frame(frame, key()));
  EXPECT_EQ(opened.type, MessageType::kOutcome);
  EXPECT_EQ(opened.payload, "payload");
  EXPECT_EQ(opened.payload.data(), frame.data() + kFrameHeaderBytes) << "the payload is not copied";
}

TEST(Frame, RejectsEveryTruncationOfEveryMessage) {
  for (const std::string& frame : a_frame_of_each_message()) {
    ASSERT_TRUE(is_accepted(frame));
    for (std::size_t size = 0; size < frame.size(); ++size) {
      ASSERT_FALSE(is_accepted(std::string_view(frame).substr(0, size))) << size;
    }
    ASSERT_FALSE(is_accepted(frame + '\0'));
  }
}

TEST(Frame, RejectsEveryFlippedBitOfEveryMessage) {
  for (std::string frame : a_frame_of_each_message()) {
    for (std::size_t i = 0; i < frame.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        frame[i] = static_cast<char>(frame[i] ^ (1 << bit));
        ASSERT_FALSE(is_accepted(frame)) << "byte " << i << " bit " << bit;
        frame[i] = static_cast<char>(frame[i] ^ (1 << bit));
      }
    }
    ASSERT_TRUE(is_accepted(frame));
  }
}

TEST(Frame, NamesTheFirstFault) {
  const std::string good = frame_of(MessageType::kCancel, "x");
  const auto with = [&](std::size_t offset, auto value) {
    std::string frame = good;
    std::memcpy(frame.data() + offset, &value, sizeof value);
    return fault_of(frame);
  };
  EXPECT_EQ(fault_of(good.substr(0, 47)), FrameFault::kTooShort);
  EXPECT_EQ(with(0, std::uint32_t{0x50545448}), FrameFault::kMagic);
  EXPECT_EQ(with(4, std::uint16_t{1}), FrameFault::kVersion);
  EXPECT_EQ(with(6, std::uint16_t{31}), FrameFault::kType);
  EXPECT_EQ(with(8, std::uint64_t{2}), FrameFault::kLength);
  EXPECT_EQ(with(8, ~std::uint64_t{0}), FrameFault::kLength);
  EXPECT_EQ(with(24, char{9}), FrameFault::kToken);
  EXPECT_EQ(with(16, std::uint64_t{9}), FrameFault::kEpoch);
  EXPECT_EQ(with(48, 'y'), FrameFault::kHash);
}

TEST(Frame, OfAnotherRunOrWithoutTheTokenIsRejected) {
  const std::string frame = frame_of(MessageType::kCancel, "x");
  FrameKey other = key();
  other.epoch = 1;
  EXPECT_EQ(fault_of(frame, other), FrameFault::kEpoch);
  other = key();
  other.token[15] = 0;
  EXPECT_EQ(fault_of(frame, other), FrameFault::kToken);
}

TEST(Frame, ChangingTheTypeToAnotherValidOneIsNoticed) {
  std::string frame = frame_of(MessageType::kCancel, "x");
  const auto settled = static_cast<std::uint16_t>(MessageType::kSettled);
  std::memcpy(frame.data() + 6, &settled, sizeof settled);
  EXPECT_EQ(fault_of(frame), FrameFault::kHash);
}

TEST(Frame, TooLongForItsTypeIsRefusedBySenderAndReceiver) {
  const std::string long_payload(payload_cap(MessageType::kCancel) + 1, 'x');
  EXPECT_THROW(frame_of(MessageType::kCancel, long_payload), Error);
  std::string frame = frame_of(MessageType::kOutcome, long_payload);  // fits there
  const auto cancel = static_cast<std::uint16_t>(MessageType::kCancel);
  std::memcpy(frame.data() + 6, &cancel, sizeof cancel);
  EXPECT_EQ(fault_of(frame), FrameFault::kLength);
}

TEST(Frame, OnlyKnownTypesHaveARoomAtAll) {
  int known = 0;
  for (int type = 0; type <= 0xffff; ++type) {
    const std::size_t cap = payload_cap(static_cast<MessageType>(type));
    known += cap != 0;
    EXPECT_LE(cap + kFrameHeaderBytes, max_frame_bytes());
  }
  EXPECT_EQ(known, 22);
}

TEST(Messages, LaunchCarriesTheWholeTask) {
  const auto sent =
      wire::Launch{{2, 9, 7}, true, task(), {{{0, 4}, "ipc:///x"}}, {4, {40}, {12}, {3}}};
  const auto got = round_trip<wire::ToWorker>(sent);
  EXPECT_EQ(got.launch, sent.launch);
  EXPECT_TRUE(got.with_program);
  EXPECT_EQ(got.task->attempt, 7U);
  EXPECT_EQ(got.task->job, 3U);
  EXPECT_EQ(got.task->stage, 1U);
  EXPECT_EQ(got.task->partition, 5U);
  EXPECT_EQ(got.task->attempt_number, 2U);
  EXPECT_EQ(got.task->program->hash, 99U);
  EXPECT_EQ(got.task->program->bytes.view(), "the stage");
  ASSERT_EQ(got.task->inputs.size(), 2U);
  EXPECT_EQ(got.task->inputs[0].bytes.view(), "offsets 5 to 9");
  ASSERT_EQ(got.task->inputs[1].segments.size(), 2U);
  EXPECT_EQ(got.task->inputs[1].segments[0].inline_data->view(), "abc");
  EXPECT_FALSE(got.task->inputs[1].segments[1].inline_data.has_value());
  EXPECT_EQ(got.task->inputs[1].segments[1].worker, (WorkerId{0, 4}));
  EXPECT_EQ(got.task->cached[0].dataset, 12U);
  EXPECT_EQ(got.task->cached[1].states, std::vector<std::uint32_t>{2});
  ASSERT_EQ(got.task->states.size(), 1U);
  EXPECT_EQ(encode(got.task->states[0]), encode(sent.task->states[0]));
  EXPECT_EQ(got.task->writes_shuffle, 41U);
  EXPECT_EQ(got.task->hash_seed, 1234U);
  EXPECT_EQ(got.task->batch, 17U);
  EXPECT_EQ(got.task->batch_time, Time(1700000000s));
  ASSERT_EQ(got.peers.size(), 1U);
  EXPECT_EQ(got.peers[0].endpoint, "ipc:///x");
  EXPECT_EQ(got.release.sequence, 4U);
  EXPECT_EQ(got.release.shuffles, (std::vector<ShuffleId>{40}));
  EXPECT_EQ(got.release.states, (std::vector<StateId>{3}));
}

TEST(Messages, LaunchWithoutItsProgramOnlyNamesIt) {
  const auto got = round_trip<wire::ToWorker>(wire::Launch{{0, 1, 7}, false, task(), {}, {}});
  EXPECT_EQ(got.task->program->hash, 99U);
  EXPECT_TRUE(got.task->program->bytes.empty());
}

TEST(Messages, HeartbeatCarriesEverySlot) {
  const wire::Heartbeat sent{{1, 2}, 8,   SteadyTime(5s),
                             3,      100, {{9, 7, true, false, 10}, {1, 2, false, true, 0}}};
  const auto got = round_trip<wire::ToDriver>(sent);
  EXPECT_EQ(got.worker, (WorkerId{1, 2}));
  EXPECT_EQ(got.sequence, 8U);
  EXPECT_EQ(got.echo, SteadyTime(5s));
  ASSERT_EQ(got.slots.size(), 2U);
  EXPECT_TRUE(got.slots[0].running);
  EXPECT_EQ(got.slots[0].steps, 10U);
  EXPECT_TRUE(got.slots[1].unsettled);
}

TEST(Messages, TheWrongEndRefusesThem) {
  const auto opened = [](const std::string& frame) {
    return std::get<OpenedFrame>(open_frame(frame, key()));
  };
  const std::string shutdown = to_frame(wire::ToWorker(wire::Shutdown{}), key());
  const std::string outcome = to_frame(wire::ToDriver(wire::Outcome{}), key());
  EXPECT_THROW(wire::from_frame<wire::ToDriver>(opened(shutdown)), Error);
  EXPECT_THROW(wire::from_frame<wire::ToWorker>(opened(outcome)), Error);
  EXPECT_THROW(wire::from_frame<wire::ExchangeAnswer>(opened(shutdown)), Error);
}

TEST(Messages, APayloadThatIsNoMessageIsAnErrorNotACrash) {
  // Well-formed frames around every prefix and some damage of every message's payload.
  for (const std::string& frame : a_frame_of_each_message()) {
    const auto whole = std::get<OpenedFrame>(open_frame(frame, key()));
    for (std::size_t size = 0; size < whole.payload.size(); ++size) {
      std::string cut = frame_of(whole.type, std::string(whole.payload.substr(0, size)));
      std::string damaged(whole.payload);
      damaged[size] = static_cast<char>(damaged[size] ^ 0xff);
      damaged = frame_of(whole.type, damaged);
      for (const std::string& bad : {cut, damaged}) {
        const auto opened = std::get<OpenedFrame>(open_frame(bad, key()));
        try {
          (void)wire::from_frame<wire::ToDriver>(opened);
        } catch (const Error&) {
        }
        try {
          (void)wire::from_frame<wire::ToWorker>(opened);
        } catch (const Error&) {
        }
        try {
          (void)wire::from_frame<wire::ExchangeAnswer>(opened);
        } catch (const Error&) {
        }
      }
    }
  }
}

TEST(WorkerBoot, EndpointsStandInTheDirectory) {
  EXPECT_EQ(driver_endpoint("/run/weir-x"), "ipc:///run/weir-x/driver");
  EXPECT_EQ(heartbeat_endpoint("/run/weir-x"), "ipc:///run/weir-x/beat");
  EXPECT_EQ(exchange_endpoint("/run/weir-x", {3, 14}), "ipc:///run/weir-x/3.14");
}

}  // namespace
}  // namespace weir
