#include "weir/connectors/files/source.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "weir/connectors/files/arrivals_internal.h"
#include "weir/connectors/files/directory_watch_internal.h"
#include "weir/connectors/files/record_stream_internal.h"
#include "weir/core/error.h"
#include "weir/core/log.h"
#include "weir/core/text_file.h"

namespace weir::files {
namespace {

/// The elements of a piece, of a file that is the same from the first to the last of them.
class OwnedPiece final : public ChunkStream<std::string> {
 public:
  OwnedPiece(const FilePiece& piece, std::uint64_t record_bytes) : piece_(piece) {
    require_unchanged();
    elements_ = record_bytes == 0
                    ? weir::internal::read_lines({piece.path, piece.begin, piece.end})
                    : internal::read_records(piece.path, piece.begin, piece.end, record_bytes);
  }

  ChunkRef<std::string> next() override {
    const auto chunk = elements_->next();
    if (chunk.empty()) require_unchanged();
    return chunk;
  }

 private:
  void require_unchanged() const {
    const FileInfo& owned = piece_.file;
    const auto found = internal::file_info(piece_.path, owned.name);
    if (found == owned) return;
    const std::string what = !found ? "is gone"
                             : found->inode != owned.inode
                                 ? "was replaced by another file"
                                 : fmt::format("was changed (it has {} bytes, the batch owns {})",
                                               found->size, owned.size);
    throw Error(ErrorCode::kDataLoss,
                fmt::format("the file {} {} before it was read: files must stay as they are until "
                            "their batch is committed; restore it, or start a new stream",
                            piece_.path, what));
  }

  const FilePiece piece_;
  std::unique_ptr<ChunkStream<std::string>> elements_;
};

}  // namespace

/// The driver's side: the watch, and what has come and is in no batch yet.
class Source::Driver {
 public:
  Driver(const std::string& directory, const FileStreamOptions& options)
      : directory_(directory), options_(options), watch_(directory) {}

  Position initial() {
    arrivals_.restart({});
    list();
    end_.emplace();
    if (!options_.existing_files) {
      *end_ = arrivals_.take(0);
      end_->files.clear();  // no batch's
    }
    return *end_;
  }

  Position latest(const Position& from) {
    const bool goes_on = end_ == from;
    if (!goes_on) arrivals_.restart(from);
    const auto events = watch_.poll();
    if (!goes_on || events.overflow || relist_is_due()) list();
    for (const std::string& name : events.gone) drop_if_gone(name);
    for (const std::string& name : events.arrived) arrived(name);
    for (const std::string& name : events.rewritten) {
      if (arrivals_.is_waiting(name)) {
        arrived(name);  // as it is now
        continue;
      }
      log_warning(directory_ + "/" + name +
                  " was written to in place after the stream found it; what was added is not read");
    }
    end_ = arrivals_.take(options_.max_files_per_batch);
    return *end_;
  }

 private:
  void list() {
    for (const std::string& name : arrivals_.waiting()) drop_if_gone(name);
    for (internal::Arrival& arrival : watch_.list()) arrivals_.on_listed(std::move(arrival));
    listed_at_ = Clock::system().steady_now();
  }

  bool relist_is_due() const {
    return options_.relist_interval > Duration(0) &&
           Clock::system().steady_now() - listed_at_ >= options_.relist_interval;
  }

  void drop_if_gone(const std::string& name) {
    if (arrivals_.is_waiting(name) && !watch_.look_at(name)) arrivals_.on_gone(name);
  }

  void arrived(const std::string& name) {
    auto arrival = watch_.look_at(name);
    if (arrival) arrivals_.on_event(std::move(*arrival));  // else gone again, or not to be read
  }

  const std::string directory_;
  const FileStreamOptions options_;
  internal::DirectoryWatch watch_;
  internal::Arrivals arrivals_;
  std::optional<Position> end_;  // of the last batch: where the next one must begin
  SteadyTime listed_at_{};
};

Source::Source(const std::string& directory, FileStreamOptions options, std::uint64_t record_bytes)
    : options_(options), record_bytes_(record_bytes) {
  if (directory.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "a stream of files was given no directory");
  }
  if (options.piece_bytes == 0 || options.relist_interval < Duration(0)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a stream of files: .piece_bytes {} must be above 0, and "
                            ".relist_interval {} not below it",
                            options.piece_bytes, to_string(options.relist_interval)));
  }
  directory_ = std::filesystem::absolute(directory).lexically_normal().string();
  if (directory_.size() > 1 && directory_.back() == '/') directory_.pop_back();
}

Source::Driver& Source::driver() {
  if (!driver_) driver_ = std::make_shared<Driver>(directory_, options_);
  return *driver_;
}

Position Source::initial() { return driver().initial(); }

Position Source::latest(const Position& from, const SourceLimit&) { return driver().latest(from); }

std::vector<FilePiece> Source::plan(const Position&, const Position& end) const {
  std::vector<FilePiece> pieces;
  std::uint64_t piece_bytes = options_.piece_bytes;
  if (record_bytes_ != 0) {  // whole records
    piece_bytes = std::max<std::uint64_t>(1, piece_bytes / record_bytes_) * record_bytes_;
  }
  for (const FileInfo& file : end.files) {
    if (record_bytes_ != 0 && file.size % record_bytes_ != 0) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("the file {}/{} has {} bytes, which is no multiple of the records' {}: "
                      "it is not whole, or of another kind; take it away",
                      directory_, file.name, file.size, record_bytes_));
    }
    const std::uint64_t count = (file.size + piece_bytes - 1) / piece_bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
      pieces.push_back({directory_ + "/" + file.name, i * piece_bytes,
                        std::min(file.size, (i + 1) * piece_bytes), file});
    }
  }
  return pieces;
}

std::unique_ptr<ChunkStream<std::string>> Source::read(const FilePiece& piece) const {
  return std::make_unique<OwnedPiece>(piece, record_bytes_);
}

void Source::stop() { driver_.reset(); }

}  // namespace weir::files
