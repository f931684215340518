#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "weir/connectors/files/sink.h"
#include "weir/connectors/files/source.h"
#include "weir/dstream/streaming_context.h"

namespace weir {

namespace files {

/// The lines of the files that come into a directory; see `Source`.
///
///     auto lines = files::text_stream(stream, "/data/in", {.existing_files = true});
///
/// Throws Error(kInvalidArgument) for options that make no sense; the directory is first looked at
/// when the streaming context starts.
///
/// A template, as all here, so that a program that includes weir.h and reads no files need not link
/// the connector.
template <class Stream = StreamingContext>
DStream<std::string> text_stream(const Stream& stream, std::string directory,
                                 FileStreamOptions options = {}) {
  return stream.source_stream(Source(std::move(directory), options));
}

/// The records of `record_bytes` each of the files that come into a directory, as strings of bytes.
/// A file whose length is no multiple of it ends the stream, before a batch owns the file.
///
/// Throws Error(kInvalidArgument) for 0 and for options that make no sense.
template <class Stream = StreamingContext>
DStream<std::string> record_stream(const Stream& stream, std::string directory,
                                   std::uint64_t record_bytes, FileStreamOptions options = {}) {
  if (record_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "a stream of binary records: the length of a record must be at least 1 byte");
  }
  return stream.source_stream(Source(std::move(directory), options, record_bytes));
}

}  // namespace files

// The same under Spark's names.

template <class Options>
auto StreamingContext::text_file_stream(std::string directory, Options options) const {
  return files::text_stream(*this, std::move(directory), options);
}

template <class Options>
auto StreamingContext::binary_records_stream(std::string directory, std::uint64_t record_bytes,
                                             Options options) const {
  return files::record_stream(*this, std::move(directory), record_bytes, options);
}

}  // namespace weir
