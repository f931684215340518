#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "weir/connectors/files/position.h"

namespace weir::files::internal {

/// Something in the watched directory: a file, or a directory of the files sink with its files.
struct Arrival {
  FileMark mark;
  std::vector<FileInfo> files;
};

/// Decides what is new, and which batch gets it: pure, no file system.
///
/// The kernel stamps the change time when something comes under its name, and directory entries
/// change one after another, so by change time and name what arrives stands in a row, and all that
/// a listing must compare with is how far in that row the last batch came. Change times are not
/// strict (a clock tick is some milliseconds, clocks are set back, a file may be closed long after
/// it was last changed), so the row's last `kOverlap` is kept by name instead.
///
/// What comes between two looks at the kernel's reports may be taken before its report is seen,
/// because a listing has found it, or because the report of what had its name before was followed.
/// The next look shows all such reports, and it is before the next `take`; so until then all that
/// the last one took is known by name, whatever the position keeps of it.
class Arrivals {
 public:
  static constexpr std::int64_t kOverlap = 2'000'000'000;  // nanoseconds
  /// Positions are written down with every batch: of many files at once the overlap is shorter.
  /// (All of one change time are kept, however many.)
  static constexpr std::size_t kMostMarks = 256;

  /// Goes on from a position: forgets what was waiting.
  void restart(const Position& from);
  /// Found by a listing: new unless its change time or the position's marks say otherwise.
  void on_listed(Arrival arrival);
  /// Reported by the kernel as it happened: new whatever its change time, unless it is marked or
  /// the last `take` took it. All that has been reported so far is told before the next `take`.
  void on_event(Arrival arrival);
  /// Nothing of this name is there any more.
  void on_gone(const std::string& name);

  /// Names of what is new and in no batch yet.
  std::vector<std::string> waiting() const;
  bool is_waiting(const std::string& name) const { return waiting_names_.count(name) != 0; }

  /// The position behind a batch of the next files, at most `max_files` (0: all) unless the first
  /// arrival has more.
  Position take(std::uint32_t max_files);

 private:
  /// Whether it is marked or just taken: whatever its change time, which attributes change too.
  /// Inode numbers are used again, so they alone say nothing.
  bool is_owned(const FileMark& mark) const;
  void wait(Arrival arrival);
  void forget_old_marks();

  Position position_;
  std::map<std::string, FileMark> just_taken_;  // by the last `take`; more than position_ marks
  std::map<std::pair<std::int64_t, std::string>, Arrival> waiting_;  // by change time and name
  std::map<std::string, std::int64_t> waiting_names_;                // with their change times
};

}  // namespace weir::files::internal
