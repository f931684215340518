#pragma once

#include <memory>
#include <ostream>
#include <streambuf>
#include <string>

#include "weir/connectors/files/folder_ops_internal.h"
#include "weir/connectors/files/sink.h"

namespace weir::files::internal {

/// A task's file while it is written: lines are gathered in memory and written out in runs. It is
/// made with the first of them, so that an empty partition leaves nothing, and removed unless it
/// was finished.
class StagedOutput {
 public:
  StagedOutput(std::string directory, std::string name);
  ~StagedOutput();
  StagedOutput(const StagedOutput&) = delete;
  StagedOutput& operator=(const StagedOutput&) = delete;

  /// Lines to be written; append to it.
  std::string& lines() { return lines_; }
  /// Whether nothing has been written yet.
  bool empty() const { return file_ == nullptr && lines_.empty(); }
  void flush_if_full();
  /// Writes what is left and syncs the file.
  StagedFile finish();

  /// For elements that are printed: a stream into `printed`.
  std::ostream& printing() { return printing_; }
  std::string& printed() { return printed_; }

 private:
  /// Appends to a string.
  class Appending final : public std::streambuf {
   public:
    explicit Appending(std::string& text) : text_(text) {}

   protected:
    int_type overflow(int_type c) override {
      if (!traits_type::eq_int_type(c, traits_type::eof())) {
        text_.push_back(traits_type::to_char_type(c));
      }
      return traits_type::not_eof(c);
    }
    std::streamsize xsputn(const char* from, std::streamsize size) override {
      text_.append(from, static_cast<std::size_t>(size));
      return size;
    }

   private:
    std::string& text_;
  };

  void flush();

  const std::string directory_;
  const std::string name_;
  const std::string path_;
  std::string lines_;
  std::unique_ptr<OpenFile> file_;
  std::uint64_t bytes_ = 0;
  bool finished_ = false;
  std::string printed_;
  Appending buffer_{printed_};
  std::ostream printing_{&buffer_};
};

}  // namespace weir::files::internal
