#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "weir/connectors/files/batch_folder_internal.h"
#include "weir/connectors/files/commit_text_internal.h"
#include "weir/core/crash_point.h"
#include "weir/core/error.h"
#include "weir/core/log.h"

namespace weir::files::internal {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBatch = "batch-";
constexpr const char* kCommitFile = "_COMMIT";
constexpr const char* kOwn = "_weir";

std::string batch_name(std::uint64_t sequence) { return fmt::format("{}{:012}", kBatch, sequence); }

/// The number that `name` begins with behind `start`.
std::optional<std::uint64_t> number_in(std::string_view name, std::string_view start) {
  if (name.substr(0, start.size()) != start) return std::nullopt;
  name.remove_prefix(start.size());
  std::uint64_t number = 0;
  const auto [at, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || at == name.data()) return std::nullopt;
  return number;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ErrorCode::kUnreachable,
                fmt::format("cannot list {}: {}", directory, error.message()));
  }
  return names;
}

/// Numbers of the batches in a directory, ascending.
std::vector<std::uint64_t> batches_in(const std::string& directory) {
  std::vector<std::uint64_t> numbers;
  for (const std::string& name : names_in(directory)) {
    const auto number = number_in(name, kBatch);
    if (number && name == batch_name(*number)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

/// They stand on lines of their own in the files that keep them.
void require_one_line(const char* what, const std::string& text) {
  if (text.find('\n') == std::string::npos) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("files: the {} must not have a line end in it: '{}'", what, text));
}

}  // namespace

std::string staged_name(const CommitId& commit, std::uint32_t partition, AttemptId attempt) {
  return fmt::format("{:012}-{:016x}-{:05}-{}.{}", commit.sequence, commit.intent, partition,
                     commit.epoch, attempt);
}

std::string staging_of(const std::string& directory) { return directory + "/" + kOwn + "/staging"; }

BatchFolder::BatchFolder(std::string directory, std::string_view extension,
                         std::shared_ptr<FolderOps> ops)
    : directory_(std::move(directory)),
      extension_(extension),
      where_("the files sink's directory " + directory_),
      ops_(std::move(ops)) {}

void BatchFolder::open(const CommitId& driver) {
  require_one_line("application's id", driver.application);
  require_one_line("sink's uid", driver.sink);
  std::vector<std::string> parents;  // of what is created: their entries must be durable
  if (!exists(own("fence"))) {
    require_empty();
    fs::path parent = directory_;
    do {
      parent = parent.parent_path();
      parents.push_back(parent.string());
    } while (!exists(parents.back()));
  }
  ops_->make_directories(staging_of(directory_));
  for (const std::string& parent : parents) ops_->sync_directory(parent);

  const FileLock lock(own("lock"));
  const auto fence = read_fence();
  std::optional<SinkOwner> owner;
  if (fence) owner = SinkOwner{fence->application, fence->sink, fence->epoch};
  const SinkOwner raised = fenced(owner, driver, where_);
  if (owner != raised) {
    replace_fence(driver);
    ops_->sync_directory(own(""));
  }
  // A driver that died may not have synced what it had renamed; what is reported must be durable.
  ops_->sync_directory(directory_);
  WEIR_CRASH_POINT("files.fenced");
  find_last();
  driver_ = driver;
  for (const std::string& name : names_in(staging_of(directory_))) {
    ops_->remove_all(staging_of(directory_) + "/" + name);
  }
}

void BatchFolder::require_empty() const {
  for (const std::string& name : names_in(directory_)) {
    if (name.front() == '.' || name == kOwn || name == "lost+found") continue;
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} holds '{}', which this sink did not write (there is no {}/fence): "
                            "use an empty directory",
                            where_, name, kOwn));
  }
}

std::optional<CommitId> BatchFolder::read_fence() const {
  const std::string file = own("fence");
  const auto text = read_file(file);
  if (!text) return std::nullopt;
  auto fence = parse_commit(*text);
  if (!fence) {
    throw Error(ErrorCode::kCorrupt,
                file + " is damaged, so that it is not known whose output is in the directory");
  }
  return fence;
}

CommitId BatchFolder::read_batch(const std::string& name) const {
  const std::string file = path(name + "/" + kCommitFile);
  const auto text = read_file(file);
  const auto commit = text ? parse_commit(*text) : std::nullopt;
  if (!commit) {
    throw Error(ErrorCode::kCorrupt,
                file + (text ? " is damaged" : " is missing") +
                    ", so that it is not known what the batch was made from: restore it, or move "
                    "the batch's directory away");
  }
  return *commit;
}

std::optional<CommitId> BatchFolder::stored(std::uint64_t sequence) const {
  if (last_ && last_->sequence == sequence) return last_;
  if (exists(path(batch_name(sequence)))) return read_batch(batch_name(sequence));
  return std::nullopt;
}

void BatchFolder::find_last() {
  last_.reset();
  const auto batches = batches_in(directory_);
  if (!batches.empty()) last_ = read_batch(batch_name(batches.back()));
}

void BatchFolder::commit(const CommitId& commit, const std::vector<StagedFile>& files) {
  const FileLock lock(own("lock"));
  const auto fence = read_fence();
  if (!fence) throw_without_fence();
  const auto there = stored(commit.sequence);
  if (must_publish(commit, {fence->application, fence->sink, fence->epoch}, there, where_)) {
    publish(commit, files);
  } else if (!last_ || last_->sequence < commit.sequence) {
    ops_->sync_directory(directory_);  // the call before failed behind its rename
    last_ = there;
  }
  clean(commit.sequence);
}

void BatchFolder::throw_without_fence() const {
  throw Error(ErrorCode::kDataLoss,
              where_ + " was not opened, or has lost its _weir/fence since: was it deleted?");
}

void BatchFolder::publish(const CommitId& commit, const std::vector<StagedFile>& files) {
  if (std::ranges::all_of(files, &std::string::empty, &StagedFile::name)) return;
  if (last_ && commit.sequence < last_->sequence) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} holds batch {} as the last one and would be given batch {}, which "
                            "was committed before and is not there any more",
                            where_, last_->sequence, commit.sequence));
  }
  publish_directory(commit, files);
  last_ = commit;
}

void BatchFolder::publish_directory(const CommitId& commit, const std::vector<StagedFile>& files) {
  const std::string staging = staging_of(directory_);
  const std::string assembled = fmt::format("{}/{:012}-{:016x}-assembled-{}", staging,
                                            commit.sequence, commit.intent, commit.epoch);
  ops_->make_directories(assembled);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].name.empty()) continue;
    const std::string part = fmt::format("{}/part-{:05}.{}", assembled, i, extension_);
    // Moved already if this call is repeated after it failed.
    if (!ops_->rename(staging + "/" + files[i].name, part) && !exists(part)) {
      throw Error(
          ErrorCode::kUnreachable,
          fmt::format("{}/{}, which a task has prepared, is not there: is the directory the "
                      "same one on driver and workers?",
                      staging, files[i].name));
    }
    WEIR_CRASH_POINT("files.part-moved");
  }
  ops_->write_file(assembled + "/" + kCommitFile, to_text(commit));
  ops_->sync_directory(assembled);
  WEIR_CRASH_POINT("files.assembled");
  const std::string target = path(batch_name(commit.sequence));
  if (!ops_->rename(assembled, target)) {
    throw Error(ErrorCode::kDataLoss, target + " exists, and this sink did not write it");
  }
  WEIR_CRASH_POINT("files.renamed");
  ops_->sync_directory(directory_);
  WEIR_CRASH_POINT("files.published");
}

void BatchFolder::replace_fence(const CommitId& driver) {
  ops_->write_file(own("fence.tmp"), to_text(driver));
  WEIR_CRASH_POINT("files.replacing");
  if (!ops_->rename(own("fence.tmp"), own("fence"))) {
    throw Error(ErrorCode::kUnreachable,
                "cannot replace " + own("fence") + ": something is in the way");
  }
}

void BatchFolder::abort(const std::vector<StagedFile>& files) {
  for (const StagedFile& file : files) {
    if (!file.name.empty()) ops_->remove_all(staging_of(directory_) + "/" + file.name);
  }
}

void BatchFolder::rollback_to(std::uint64_t sequence) {
  const FileLock lock(own("lock"));
  const auto fence = read_fence();
  if (!fence || !driver_) throw_without_fence();
  (void)fenced(SinkOwner{fence->application, fence->sink, fence->epoch}, *driver_, where_);
  auto batches = batches_in(directory_);
  // The newest first, so that what is left is whole whenever this is interrupted.
  while (!batches.empty() && batches.back() > sequence) {
    const std::string name = batch_name(batches.back());
    const std::string removed = fmt::format("{}/removed-{}", staging_of(directory_), name);
    ops_->remove_all(removed);
    ops_->rename(path(name), removed);
    ops_->sync_directory(directory_);
    ops_->remove_all(removed);
    batches.pop_back();
  }
  find_last();
}

void BatchFolder::clean(std::uint64_t sequence) {
  const std::string staging = staging_of(directory_);
  for (const std::string& name : names_in(staging)) {
    const auto number = number_in(name, "");
    if (!number || *number > sequence) continue;
    try {
      ops_->remove_all(staging + "/" + name);
    } catch (const Error& error) {  // the batch is committed all the same
      log_warning(where_ + ": " + error.what());
    }
  }
}

}  // namespace weir::files::internal
