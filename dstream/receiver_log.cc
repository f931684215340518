#include "weir/dstream/receiver_log.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/hash.h"
#include "weir/core/log.h"

namespace weir::internal {
namespace {

constexpr std::uint64_t kFileBytes = 16 << 20;
constexpr std::string_view kMagic = "WEIRBLK1";
constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kHeaderHashAt = 40;

struct Header {
  std::uint32_t number = 0;
  std::uint64_t records = 0;
  std::uint64_t size = 0;
  std::uint64_t hash = 0;
};

std::string to_bytes(const Header& header) {
  std::string bytes(kHeaderBytes, '\0');
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  std::memcpy(bytes.data() + 8, &header.number, 4);
  std::memcpy(bytes.data() + 16, &header.records, 8);
  std::memcpy(bytes.data() + 24, &header.size, 8);
  std::memcpy(bytes.data() + 32, &header.hash, 8);
  const std::uint64_t hash = hash_bytes({bytes.data(), kHeaderHashAt});
  std::memcpy(bytes.data() + kHeaderHashAt, &hash, 8);
  return bytes;
}

/// False if they are no header.
bool read(std::string_view bytes, Header& header) {
  if (bytes.size() != kHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) return false;
  std::uint64_t hash = 0;
  std::memcpy(&hash, bytes.data() + kHeaderHashAt, 8);
  if (hash != hash_bytes(bytes.substr(0, kHeaderHashAt))) return false;
  std::memcpy(&header.number, bytes.data() + 8, 4);
  std::memcpy(&header.records, bytes.data() + 16, 8);
  std::memcpy(&header.size, bytes.data() + 24, 8);
  std::memcpy(&header.hash, bytes.data() + 32, 8);
  return true;
}

void read_file(DurableStore& store, const std::string& path, std::vector<LoggedBlock>& blocks) {
  const auto file = store.open(path);
  if (file == nullptr) return;  // it was released meanwhile
  const std::uint64_t end = file->size();
  std::uint64_t at = 0;
  while (at < end) {
    std::string header_bytes(kHeaderBytes, '\0');
    header_bytes.resize(file->read(at, header_bytes));
    Header header;
    if (!read(header_bytes, header) || header.size > end - at - kHeaderBytes) break;
    std::string bytes(header.size, '\0');
    bytes.resize(file->read(at + kHeaderBytes, bytes));
    if (bytes.size() != header.size || hash_bytes(bytes) != header.hash) break;
    blocks.push_back({run_of(path.substr(path.rfind('/') + 1)), path, at + kHeaderBytes,
                      header.number, header.records, header.size, header.hash});
    at += kHeaderBytes + header.size;
  }
  if (at < end) {
    log_warning(path + " ends with " + std::to_string(end - at) + " bytes at " +
                std::to_string(at) +
                " that are no whole block: they were never synced and are ignored");
  }
}

}  // namespace

ReceiverLog::ReceiverLog(const std::string& directory, std::string folder, std::string run)
    : store_(directory_store_at(directory)), folder_(std::move(folder)), run_(std::move(run)) {}

ReceiverLog::Place ReceiverLog::append(std::uint32_t number, std::uint64_t records,
                                       const Bytes& block) {
  if (file_ == nullptr || file_->size() >= kFileBytes) {
    if (file_ != nullptr) file_->sync();
    name_ = fmt::format("{}/{}.{:08}", folder_, run_, next_file_++);
    file_ = store_->create(name_);
    if (file_ == nullptr) {
      throw Error(ErrorCode::kDataLoss, name_ +
                                            " is there already: another run of the receiver has "
                                            "the same name");
    }
    store_->sync_directory(folder_);
  }
  std::string record = to_bytes({number, records, block.size(), hash_bytes(block.view())});
  const std::uint64_t offset = file_->size() + record.size();
  record += block.view();
  if (WEIR_CRASH_DUE("receiver.log-torn")) {
    file_->append(std::string_view(record).substr(0, record.size() / 2));
    die_at_once();
  }
  file_->append(record);
  return {name_, offset};
}

void ReceiverLog::sync() {
  if (file_ != nullptr) file_->sync();
}

std::string run_of(const std::string& file) { return file.substr(0, file.rfind('.')); }

std::vector<LoggedBlock> read_receiver_logs(DurableStore& store, const std::string& folder,
                                            const std::string& prefix) {
  std::vector<LoggedBlock> blocks;
  for (const std::string& name : store.list(folder)) {
    if (name.starts_with(prefix)) read_file(store, folder + "/" + name, blocks);
  }
  std::ranges::stable_sort(blocks, [](const LoggedBlock& a, const LoggedBlock& b) {
    return std::pair(a.run, a.number) < std::pair(b.run, b.number);
  });
  return blocks;
}

}  // namespace weir::internal
