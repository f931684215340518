#include "weir/connectors/files/sink.h"

#include <filesystem>
#include <utility>

#include "weir/connectors/files/batch_folder_internal.h"
#include "weir/connectors/files/staged_output_internal.h"
#include "weir/core/error.h"

namespace weir::files {

Sink::Sink(SinkOptions options)
    : format_(options.format, options.delimiter, std::move(options.fields), options.header),
      mode_(options.mode) {
  if (options.directory.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "files: .directory is empty; name one");
  }
  if (mode_ == SinkMode::kUpsert) {
    throw Error(ErrorCode::kInvalidArgument,
                "files: .mode cannot be kUpsert, for files have no keys; use kAppend or kTruncate");
  }
  const auto absolute = std::filesystem::absolute(options.directory).lexically_normal();
  directory_ = (absolute.has_filename() ? absolute : absolute.parent_path()).string();
}

internal::BatchFolder& Sink::folder() {
  if (folder_ == nullptr) {
    folder_ = std::make_shared<internal::BatchFolder>(directory_, extension_of(format_.format()));
  }
  return *folder_;
}

void Sink::open(const CommitId& driver) { folder().open(driver); }

std::optional<CommitId> Sink::last_committed(std::uint32_t) { return folder().last_committed(); }

void Sink::commit(const CommitId& commit, const std::vector<Token>& tokens) {
  folder().commit(commit, tokens);
}

void Sink::abort(const std::vector<Token>& tokens) { folder().abort(tokens); }

void Sink::rollback_to(std::uint64_t sequence) {
  if (mode_ != SinkMode::kTruncate) {
    throw Error(ErrorCode::kInvalidArgument,
                "files: batches are removed only if .mode is kTruncate");
  }
  folder().rollback_to(sequence);
}

Sink::Writer::Writer(const Sink& sink, const CommitId& commit, std::uint32_t partition,
                     AttemptId attempt)
    : format_(sink.format_),
      output_(std::make_unique<internal::StagedOutput>(
          internal::staging_of(sink.directory_),
          internal::staged_name(commit, partition, attempt))) {}

Sink::Writer::~Writer() = default;

void Sink::Writer::append_row(const Field& row) {
  if (format_.has_header() && output_->empty()) format_.append_header(output_->lines(), row);
  format_.append(output_->lines(), row);
}

void Sink::Writer::append_text(std::string_view text) {
  RowFormat::append_text(output_->lines(), text);
}

std::ostream& Sink::Writer::printing() {
  output_->printed().clear();
  return output_->printing();
}

void Sink::Writer::append_printed() { append_text(output_->printed()); }

void Sink::Writer::throw_not_printable() {
  throw Error(
      ErrorCode::kInvalidArgument,
      "files: the elements have no operator<<, so that they cannot be written as text; give "
      "them one, or write JSON lines or the delimited format");
}

void Sink::Writer::flush_if_full() { output_->flush_if_full(); }

Sink::Token Sink::Writer::prepare() { return output_->finish(); }

}  // namespace weir::files
