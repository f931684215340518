#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "weir/dstream/streaming_listener.h"

namespace weir {

/// A completed batch as one line of JSON, without its end. Times are microseconds since the epoch,
/// durations microseconds; what is not known is left out, text that is not UTF-8 is replaced.
/// Members may be added, those that are there keep their names:
///
///     {"batch":3,"time_us":...,"records":40,"scheduling_delay_us":0,"processing_us":900,
///      "total_us":900,"failure":"...",
///      "inputs":[{"name":"source-0","records":40,"limit":50000.0}],
///      "states":[{"uid":"counts","keys":8,"bytes":1024,"restored_partitions":0,
///                 "restored_bytes":0,"lost_partitions":0}],
///      "log":{"append_us":20,"sync_us":300,"bytes":4096},"checkpoint_time_us":...}
std::string to_json(const BatchInfo& batch);

/// Appends a line for each completed batch to a file, flushed. What cannot be written is logged
/// once; the stream goes on.
class JsonProgress final : public StreamingListener {
 public:
  /// Throws Error(kInvalidArgument) if the file cannot be opened.
  explicit JsonProgress(const std::string& path);

  void on_batch_completed(const BatchInfo& batch) override;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  const std::string path_;
  const std::unique_ptr<std::FILE, Close> file_;
  bool failed_ = false;
};

}  // namespace weir
