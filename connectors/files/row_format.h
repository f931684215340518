#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/connectors/files/field.h"

namespace weir::files {

enum class Format : std::uint8_t {
  /// Each element on a line as `print` shows it, strings as they are. An element with a line end in
  /// it is refused, for it would be read back as two.
  kText,
  /// A line per element with its fields between delimiters, quoted as RFC 4180 says (line ends are
  /// \n): fields with a delimiter, quote or line end in them, and the empty string, for what is
  /// null is written as nothing. Records and lists inside a field are JSON.
  kDelimited,
  /// A line of JSON per element (RFC 8259): an object where the fields have names, else an array or
  /// a scalar. Text must be UTF-8; numbers that are not finite become null.
  kJsonLines,
};

/// What a file's name ends in: "txt", "csv" or "jsonl".
std::string_view extension_of(Format format);

/// How elements become lines. Serializable; immutable when made, so any number of threads may use
/// it.
class RowFormat {
 public:
  RowFormat() = default;
  /// `fields` names the elements' fields, in order; may be empty. A `header` line is for kDelimited
  /// only. Throws Error(kInvalidArgument) for what makes no sense.
  RowFormat(Format format, char delimiter, std::vector<std::string> fields, bool header);

  Format format() const { return format_; }
  bool has_header() const { return header_; }

  /// Appends the line of names, taken from `row` where none were given.
  void append_header(std::string& out, const Field& row) const;
  /// Appends one element's line. Throws Error(kInvalidArgument) with the beginning of what cannot
  /// be written: text that is not UTF-8, a row with another number of fields than there are names.
  void append(std::string& out, const Field& row) const;
  /// kText only.
  static void append_text(std::string& out, std::string_view text);

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & format_ & delimiter_ & fields_ & header_;
  }

 private:
  void append_delimited(std::string& out, const Field& row) const;
  void append_column(std::string& out, const Field& column) const;
  void append_quoted(std::string& out, std::string_view text) const;
  void append_json(std::string& out, const Field& row) const;
  void require_fields(std::size_t count) const;

  Format format_ = Format::kText;
  char delimiter_ = ',';
  std::vector<std::string> fields_;
  bool header_ = false;
};

}  // namespace weir::files
