// What edited_job has and crash_point_job has not: WEIR_EDITED.

#include <cstdint>
#include <string>
#include <utility>

#include <weir/dstream/dstream.h>

using Count = std::pair<std::string, std::int64_t>;

weir::DStream<Count> edited(const weir::DStream<Count>& counts) {
#ifdef WEIR_EDITED
  return counts.filter([](const Count& count) { return count.first != "key1"; });
#else
  return counts;
#endif
}
