#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/core/owned.h"
#include "weir/core/time.h"

namespace weir::kafka {

/// A header of a record. A null value (Kafka knows null and empty) has `data() == nullptr`.
struct Header {
  std::string_view name;
  std::string_view value;

  bool has_value() const { return value.data() != nullptr; }
};

/// `Header` in its owning form.
struct OwnedHeader {
  std::string name;
  std::string value;
  bool null_value = false;

  OwnedHeader() = default;
  explicit OwnedHeader(const Header& header)
      : name(header.name), value(header.value), null_value(!header.has_value()) {}

  bool has_value() const { return !null_value; }
  operator Header() const { return view(); }
  Header view() const { return {name, null_value ? std::string_view() : std::string_view(value)}; }
  bool operator==(const OwnedHeader&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & name & value & null_value;
  }
};

/// The headers of a record in their order: a range of `Header`, wherever they are kept.
class Headers {
 public:
  class iterator {
   public:
    using value_type = Header;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::forward_iterator_tag;

    iterator() = default;
    iterator(const Headers* headers, std::size_t at) : headers_(headers), at_(at) {}

    Header operator*() const { return (*headers_)[at_]; }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    iterator operator++(int) { return {headers_, at_++}; }
    bool operator==(const iterator&) const = default;

   private:
    const Headers* headers_ = nullptr;
    std::size_t at_ = 0;
  };

  Headers() = default;
  Headers(std::span<const Header> headers) : views_(headers.data()), size_(headers.size()) {}
  Headers(std::span<const OwnedHeader> headers) : owned_(headers.data()), size_(headers.size()) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Header operator[](std::size_t i) const { return owned_ ? owned_[i].view() : views_[i]; }
  iterator begin() const { return {this, 0}; }
  iterator end() const { return {this, size_}; }

 private:
  const Header* views_ = nullptr;
  const OwnedHeader* owned_ = nullptr;  // instead of views_
  std::size_t size_ = 0;
};

/// One record of a Kafka topic, as user functions are given it.
///
/// Everything is a view into what the client library fetched and is valid as elements of chunks
/// are: until the next chunk is asked for. Whatever keeps records stores `OwnedRecord`.
struct Record {
  std::string_view topic = {};
  std::int32_t partition = 0;
  std::int64_t offset = 0;
  Time
      timestamp{};  ///< of creation or of appending, as the topic is set up; the epoch when unknown
  std::string_view key = {};    ///< a null key has `data() == nullptr`
  std::string_view value = {};  ///< a null value (a tombstone) has `data() == nullptr`
  Headers headers = {};

  bool has_key() const { return key.data() != nullptr; }
  bool has_value() const { return value.data() != nullptr; }
};

/// `Record` in its owning form: what stored, shuffled and collected records are. A string cannot be
/// null, so that null keys and values are told from empty ones by flags of their own.
struct OwnedRecord {
  std::string topic;
  std::int32_t partition = 0;
  std::int64_t offset = 0;
  Time timestamp{};
  std::string key;
  std::string value;
  std::vector<OwnedHeader> headers;
  bool null_key = false;
  bool null_value = false;

  OwnedRecord() = default;
  explicit OwnedRecord(const Record& record)
      : topic(record.topic),
        partition(record.partition),
        offset(record.offset),
        timestamp(record.timestamp),
        key(record.key),
        value(record.value),
        null_key(!record.has_key()),
        null_value(!record.has_value()) {
    headers.reserve(record.headers.size());
    for (const Header& header : record.headers) headers.emplace_back(header);
  }

  /// Views of this record, valid as long as it is: functions of a `Record` take owned ones too.
  operator Record() const {
    return {topic,
            partition,
            offset,
            timestamp,
            null_key ? std::string_view() : std::string_view(key),
            null_value ? std::string_view() : std::string_view(value),
            std::span(headers)};
  }

  bool has_key() const { return !null_key; }
  bool has_value() const { return !null_value; }
  bool operator==(const OwnedRecord&) const = default;

  template <class Archive>
  void serialize(Archive& ar, unsigned) {
    ar & topic & partition & offset & timestamp & key & value & headers & null_key & null_value;
  }
};

/// For people: "lines[3]@250 key=value", null keys and values as "null".
std::ostream& operator<<(std::ostream& out, const Record& record);
std::ostream& operator<<(std::ostream& out, const OwnedRecord& record);
/// "name=value".
std::ostream& operator<<(std::ostream& out, const Header& header);
std::ostream& operator<<(std::ostream& out, const OwnedHeader& header);

}  // namespace weir::kafka

template <>
struct weir::owned<weir::kafka::Header> {
  using type = weir::kafka::OwnedHeader;
};
template <>
struct weir::owned<weir::kafka::Record> {
  using type = weir::kafka::OwnedRecord;
};
