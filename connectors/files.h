#pragma once

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
inline DStream<std::string> text_stream(const StreamingContext& stream, std::string directory,
                                        FileStreamOptions options = {}) {
  return stream.source_stream(Source(std::move(directory), options));
}

}  // namespace files

/// The same under Spark's name.
inline DStream<std::string> text_file_stream(const StreamingContext& stream, std::string directory,
                                             FileStreamOptions options = {}) {
  return files::text_stream(stream, std::move(directory), options);
}

}  // namespace weir
