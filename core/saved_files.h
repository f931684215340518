#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/core/archive.h"
#include "weir/core/chunk.h"
#include "weir/core/print_value.h"
#include "weir/core/state/fingerprint.h"
#include "weir/core/task_run.h"

/// Datasets as directories of files, one per partition: "part-00000" and so on, and an empty
/// "_SUCCESS" when all are there. A task writes under another name, which begins with a dot, and
/// renames, so that attempts of one partition do not meet and a file is whole.
namespace weir::internal {

/// Makes the directory, which driver and workers must see under the same path. Throws
/// Error(kInvalidArgument) if it exists, unless it is to be `replaced`: then what an earlier save
/// left is removed.
void begin_saving(const char* operation, const std::string& directory, bool replaced);
/// Removes what attempts left that were killed, and says that all is there, durably.
void finish_saving(const std::string& directory);

/// One partition's file while a task writes it. Throws Error(kUnreachable) with path and cause.
class PartFile {
 public:
  PartFile(const std::string& directory, std::uint32_t partition);
  /// Removes it, unless it was finished.
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  /// Append to it; call `flush_if_full` now and then.
  std::string& bytes() { return bytes_; }
  void flush_if_full();
  /// Syncs it and gives it its name.
  void finish();

 private:
  void flush();

  const std::string name_;
  std::string unfinished_;
  int file_ = -1;
  std::string bytes_;
};

struct SaveTextAction {
  std::string directory;

  template <class T>
  bool operator()(ChunkStream<T>& input) const {
    PartFile file(directory, TaskContext::current().partition());
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      for (const T& element : chunk) {
        if constexpr (std::is_convertible_v<const T&, std::string_view>) {
          file.bytes() += std::string_view(element);
        } else {
          file.bytes() += printed(element);
        }
        file.bytes() += '\n';
      }
      file.flush_if_full();
    }
    file.finish();
    return true;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & directory;
  }
};

// Object files: a header, then frames of elements in the slim encoding, each with its length and
// hash.

std::string object_file_header(const std::string& structure);
void append_object_frame(std::string& to, std::uint32_t count, std::string_view elements);

template <class T>
struct SaveObjectsAction {
  std::string directory;

  bool operator()(ChunkStream<T>& input) const {
    PartFile file(directory, TaskContext::current().partition());
    file.bytes() += object_file_header(fingerprint<owned_t<T>>());
    SlimWriter elements;
    for (auto chunk = input.next(); !chunk.empty(); chunk = input.next()) {
      elements.clear();
      for (const T& element : chunk) write_owned(elements, element);
      append_object_frame(file.bytes(), static_cast<std::uint32_t>(chunk.size), elements.view());
      file.flush_if_full();
    }
    file.finish();
    return true;
  }
  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & directory;
  }
};

/// Reads the frames of one object file. Throws Error(kDataLoss) if it holds elements of another
/// structure, Error(kCorrupt) with file and offset if it is damaged.
class ObjectFile {
 public:
  ObjectFile(std::string path, const std::string& structure);
  ~ObjectFile();
  ObjectFile(const ObjectFile&) = delete;
  ObjectFile& operator=(const ObjectFile&) = delete;

  struct Frame {
    std::uint32_t count = 0;  ///< 0: the file has ended
    std::string_view elements;
  };
  /// Valid until the next call.
  Frame next();
  /// Of the frame that `next` returned last: it holds something else than so many elements.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  void read(std::uint64_t size, const char* what);

  const std::string path_;
  int file_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t frame_at_ = 0;
  std::string buffer_;
};

template <class T>
class ObjectStream final : public ChunkStream<T> {
 public:
  explicit ObjectStream(const std::string& path) : file_(path, fingerprint<T>()) {}

  ChunkRef<T> next() override {
    out_.clear();
    const ObjectFile::Frame frame = file_.next();
    SlimReader in(frame.elements);
    try {
      for (std::uint32_t i = 0; i < frame.count; ++i) {
        T element{};
        in & element;
        out_.emplace_back(std::move(element));
      }
    } catch (const Error& error) {
      file_.fail(error.what());
    }
    if (!in.at_end()) file_.fail("there is more in it than its elements");
    return out_.ref();
  }

 private:
  ObjectFile file_;
  ChunkBuffer<T> out_;
};

template <class T>
StreamPtr<T> read_objects(const std::string& path) {
  return StreamPtr(new ObjectStream<T>(path));
}

}  // namespace weir::internal
