#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/pipes.h"
#include "weir/core/print_value.h"

namespace weir::internal {

/// An external program that is fed lines and read from: what `Rdd::pipe` runs per partition. What
/// it does not take yet is kept here, so that neither side can wait for the other for ever. Used by
/// one thread; killed if it still runs when it is destroyed.
class PipedProcess {
 public:
  /// Throws Error(kUnreachable) if the program cannot be started.
  explicit PipedProcess(const std::vector<std::string>& command);
  ~PipedProcess();
  PipedProcess(const PipedProcess&) = delete;
  PipedProcess& operator=(const PipedProcess&) = delete;

  /// How many bytes wait to be taken.
  std::size_t unwritten() const { return input_.size() - written_; }
  std::string& input() { return input_; }
  /// There will be no more input.
  void end_input() { no_more_ = true; }

  /// Waits a while until the program takes or says something. False once it has closed its output:
  /// then throws Error(kJobFailed) unless it ended with status 0.
  bool exchange();
  /// What it said and nobody took yet.
  std::string& output() { return output_; }

 private:
  void write_some();
  void check_exit();

  const std::string name_;
  int process_ = -1;  // -1: it has been waited for
  int in_ = -1;
  int out_ = -1;
  std::string input_;
  std::size_t written_ = 0;
  bool no_more_ = false;
  std::string output_;
};

/// Words of a command line; throws Error(kInvalidArgument) if there are none.
std::vector<std::string> split_command(std::string_view text);
std::vector<std::string> require_command(std::vector<std::string> command);

template <class T>
struct ExternalPipe {
  using Out = std::string;
  std::vector<std::string> command;

  struct Stream final : ChunkStream<std::string> {
    Stream(StreamPtr<T> in, const std::vector<std::string>& command, TaskRun& r)
        : input(std::move(in)), process(command), run(r) {}
    ChunkRef<std::string> next() override {
      constexpr std::size_t kEnough = std::size_t{64} << 10;
      out.clear();
      while (true) {
        run.step();
        take_lines();
        if (out.size() != 0 || ended) return out.ref();
        if (input != nullptr && process.unwritten() < kEnough) feed();
        if (process.exchange()) continue;
        ended = true;
        take_lines();
        if (!process.output().empty()) out.emplace_back(std::move(process.output()));
        return out.ref();
      }
    }
    void feed() {
      const auto chunk = input->next();
      for (const T& element : chunk) {
        if constexpr (std::is_convertible_v<const T&, std::string_view>) {
          process.input() += std::string_view(element);
        } else {
          process.input() += printed(element);
        }
        process.input() += '\n';
      }
      if (!chunk.empty()) return;
      input = nullptr;
      process.end_input();
    }
    /// Whole ones, as many as a chunk holds.
    void take_lines() {
      std::string& text = process.output();
      std::size_t from = 0;
      while (!out.full()) {
        const std::size_t end = text.find('\n', from);
        if (end == std::string::npos) break;
        out.emplace_back(text.substr(from, end - from));
        from = end + 1;
      }
      text.erase(0, from);
    }
    StreamPtr<T> input;  // null: at the end
    PipedProcess process;
    TaskRun& run;
    bool ended = false;
    ChunkBuffer<std::string> out;
  };

  StreamPtr<std::string> operator()(StreamPtr<T> in, TaskRun& run) const {
    return StreamPtr<Out>(new Stream(std::move(in), command, run));
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & command;
  }
};

}  // namespace weir::internal
