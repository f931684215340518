#include "weir/core/compression.h"

#include <lz4frame.h>

#include <cstdint>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "weir/core/error.h"

namespace weir::internal {
namespace {

std::string random_bytes(std::size_t size) {
  std::mt19937 random(7);
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

ErrorCode error_of(const std::string& frame) {
  try {
    (void)decompress(frame);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "it was taken";
  return {};
}

TEST(Compression, GivesBackWhatItWasGiven) {
  for (const std::string& bytes :
       {std::string(), std::string("a"), std::string(1 << 20, 'x'), random_bytes(100),
        random_bytes(3 << 20), random_bytes(1000) + std::string(1 << 20, 'y')}) {
    EXPECT_TRUE(decompress(compress(bytes)).view() == bytes) << bytes.size();
  }
  EXPECT_LT(compress(std::string(1 << 20, 'x')).size(), 10'000U);
}

TEST(Compression, RefusesWhatIsCutOff) {
  const std::string frame = compress(random_bytes(1000) + std::string(5000, 'x'));
  for (std::size_t size = 0; size < frame.size(); ++size) {
    EXPECT_EQ(error_of(frame.substr(0, size)), ErrorCode::kCorrupt) << size;
  }
  EXPECT_EQ(error_of(frame + "more"), ErrorCode::kCorrupt);
}

TEST(Compression, RefusesOrSurvivesEveryChangedByte) {
  const std::string bytes = random_bytes(300) + std::string(300, 'x');
  const std::string frame = compress(bytes);
  for (std::size_t i = 0; i < frame.size(); ++i) {
    std::string torn = frame;
    torn[i] = static_cast<char>(torn[i] ^ 0x55);
    try {
      (void)decompress(torn);  // literals may change: hashes find that out
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << i;
    }
  }
}

TEST(Compression, RefusesASizeThatItCannotHave) {
  LZ4F_cctx* context = nullptr;
  ASSERT_EQ(LZ4F_createCompressionContext(&context, LZ4F_VERSION), 0U);
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.contentSize = std::uint64_t{1} << 50;
  std::string frame(100, 0);
  frame.resize(LZ4F_compressBegin(context, frame.data(), frame.size(), &preferences));
  LZ4F_freeCompressionContext(context);
  try {
    (void)decompress(frame);
    ADD_FAILURE() << "it was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cannot hold"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace weir::internal
