#include "weir/core/compression.h"

#include <lz4frame.h>

#include <cstdint>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "weir/core/error.h"

namespace weir::internal {
namespace {

constexpr std::uint64_t kBestRatio = 255;  // that the format has, nearly

struct FreeContext {
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
};

[[noreturn]] void throw_corrupt(const std::string& why) {
  throw Error(ErrorCode::kCorrupt, "a compressed map output is corrupt: " + why);
}

std::size_t checked(std::size_t result) {
  if (LZ4F_isError(result) != 0) throw_corrupt(LZ4F_getErrorName(result));
  return result;
}

}  // namespace

std::string compress(std::string_view bytes) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.contentSize = bytes.size();
  preferences.frameInfo.blockSizeID = LZ4F_max256KB;
  std::string frame(LZ4F_compressFrameBound(bytes.size(), &preferences), '\0');
  const std::size_t size =
      LZ4F_compressFrame(frame.data(), frame.size(), bytes.data(), bytes.size(), &preferences);
  if (LZ4F_isError(size) != 0) {
    throw Error(ErrorCode::kInternal, fmt::format("LZ4 cannot compress {} bytes: {}", bytes.size(),
                                                  LZ4F_getErrorName(size)));
  }
  frame.resize(size);
  return frame;
}

Bytes decompress(std::string_view frame) {
  LZ4F_dctx* made = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) != 0) {
    throw std::bad_alloc();
  }
  const std::unique_ptr<LZ4F_dctx, FreeContext> context(made);
  LZ4F_frameInfo_t info{};
  std::size_t taken = frame.size();
  checked(LZ4F_getFrameInfo(context.get(), &info, frame.data(), &taken));
  const std::uint64_t size = info.contentSize;
  if (size > kBestRatio * frame.size()) {
    throw_corrupt(fmt::format("{} bytes cannot hold {}", frame.size(), size));
  }
  std::string content(size, '\0');
  std::size_t made_so_far = 0;
  std::size_t left_in_frame = 1;
  while (left_in_frame != 0) {
    std::size_t room = content.size() - made_so_far;
    std::size_t given = frame.size() - taken;
    left_in_frame = checked(LZ4F_decompress(context.get(), content.data() + made_so_far, &room,
                                            frame.data() + taken, &given, nullptr));
    made_so_far += room;
    taken += given;
    if (left_in_frame != 0 && room == 0 && given == 0) throw_corrupt("it ends early");
  }
  if (made_so_far != content.size() || taken != frame.size()) {
    throw_corrupt("it is not of the size that it states");
  }
  return Bytes(std::move(content));
}

}  // namespace weir::internal
