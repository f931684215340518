#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>
#include <vector>

#include "weir/connectors/files/row_format.h"
#include "weir/core/print_value.h"
#include "weir/core/sink.h"

namespace weir::files {

namespace internal {
class BatchFolder;
class StagedOutput;

/// A task's file, as the driver is told; no name if the partition was empty.
struct StagedFile {
  std::string name;
  std::uint64_t bytes = 0;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & name & bytes;
  }
};

}  // namespace internal

struct SinkOptions {
  std::string directory = {};  ///< the same one, by the same path, on driver and workers
  Format format = Format::kText;
  char delimiter = ',';                  ///< of kDelimited
  std::vector<std::string> fields = {};  ///< names of the elements' fields, in order
  bool header = false;                   ///< kDelimited: each file begins with the fields' names
  /// kTruncate: batches that the driver lost (its log is older than the directory) are removed when
  /// it starts; kAppend: they stay, are written again under later numbers, and are reported.
  SinkMode mode = SinkMode::kAppend;
};

/// Files, a directory per batch, exactly once:
///
///     counts.write_to(weir::files::Sink({.directory = "/data/counts",
///                                        .format = weir::files::Format::kJsonLines}),
///                     {.uid = "counts"});
///
///     /data/counts/batch-000000000012/part-00000.jsonl   of partition 0; none if that was empty
///                                    /part-00001.jsonl
///                                    /_COMMIT            what it was made from, for people to read
///                 /_weir/                                the sink's own
///
/// A batch's directory appears by one rename, whole and durable, and never changes; a batch without
/// elements has none. Readers leave out names that begin with '_' or '.'; `files::Source` reads it.
/// Batch directories may be deleted, the newest one not. The whole belongs to one sink of one
/// application; anything else is refused. batch_folder_internal.h has the steps of a commit, and
/// what is left when it is interrupted behind each.
///
/// Costs of a batch: its files and three small things are synced. Elements are anything that
/// `to_field` takes, for text what `print` takes.
class Sink {
 public:
  using Token = internal::StagedFile;

  /// Writes one partition. Used by one task.
  class Writer {
   public:
    Writer(const Sink& sink, const CommitId& commit, std::uint32_t partition, AttemptId attempt);
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    /// `elements` is a range. Throws Error(kInvalidArgument) for an element that the format cannot
    /// hold, Error(kUnreachable) where the file system fails.
    template <class Range>
    void write(const Range& elements) {
      for (const auto& element : elements) append(element);
      flush_if_full();
    }
    /// The file is synced.
    Token prepare();

   private:
    template <class T>
    void append(const T& element);
    void append_row(const Field& row);
    void append_text(std::string_view text);
    /// A stream whose text is taken by `append_printed`.
    std::ostream& printing();
    void append_printed();
    [[noreturn]] static void throw_not_printable();
    void flush_if_full();

    const RowFormat& format_;
    const std::unique_ptr<internal::StagedOutput> output_;
  };

  Sink() = default;
  /// Throws Error(kInvalidArgument) for options that make no sense; touches no file.
  explicit Sink(SinkOptions options);

  static constexpr CommitPoint commit_point() { return CommitPoint::kDriver; }
  static constexpr SinkGuarantee guarantee() { return SinkGuarantee::kExactlyOnce; }
  SinkMode mode() const { return mode_; }
  const std::string& directory() const { return directory_; }

  void open(const CommitId& driver);
  std::optional<CommitId> last_committed(std::uint32_t partition);
  void commit(const CommitId& commit, const std::vector<Token>& tokens);
  void abort(const std::vector<Token>& tokens);
  void rollback_to(std::uint64_t sequence);

  Writer begin(const CommitId& commit, std::uint32_t partition, AttemptId attempt) const {
    return Writer(*this, commit, partition, attempt);
  }

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & directory_ & format_;
  }

 private:
  internal::BatchFolder& folder();

  std::string directory_;  // absolute
  RowFormat format_;
  SinkMode mode_ = SinkMode::kAppend;
  std::shared_ptr<internal::BatchFolder> folder_;  // in the driver only
};

template <class T>
void Sink::Writer::append(const T& element) {
  if (format_.format() != Format::kText) {
    append_row(to_field(element));
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    append_text(element);
  } else if constexpr (weir::internal::is_printable<T>()) {
    print_value(printing(), element);
    append_printed();
  } else {
    throw_not_printable();
  }
}

}  // namespace weir::files
