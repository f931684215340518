#include "weir/connectors/kafka/record.h"

#include <ostream>

namespace weir::kafka {
namespace {

std::string_view shown(std::string_view text) { return text.data() == nullptr ? "null" : text; }

}  // namespace

std::ostream& operator<<(std::ostream& out, const Record& record) {
  return out << record.topic << '[' << record.partition << "]@" << record.offset << ' '
             << shown(record.key) << '=' << shown(record.value);
}

std::ostream& operator<<(std::ostream& out, const OwnedRecord& record) {
  return out << static_cast<Record>(record);
}

std::ostream& operator<<(std::ostream& out, const Header& header) {
  return out << header.name << '=' << shown(header.value);
}

std::ostream& operator<<(std::ostream& out, const OwnedHeader& header) {
  return out << header.view();
}

}  // namespace weir::kafka
