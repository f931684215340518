#include "weir/core/text_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "weir/core/archive.h"
#include "weir/core/error.h"

namespace weir::internal {
namespace {

using Lines = std::vector<std::string>;

class TextFile : public ::testing::Test {
 protected:
  TextFile() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-text-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    folder_ = pattern;
  }
  ~TextFile() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::string folder() const { return folder_; }

  static void append_lines(const TextPiece& piece, Lines& lines) {
    const auto stream = read_lines(piece);
    for (auto chunk = stream->next(); !chunk.empty(); chunk = stream->next()) {
      EXPECT_LE(chunk.size, kChunkElements);
      lines.insert(lines.end(), chunk.begin(), chunk.end());
    }
  }
  static Lines all_lines(const std::vector<TextPiece>& pieces) {
    Lines lines;
    for (const TextPiece& piece : pieces) append_lines(piece, lines);
    return lines;
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(TextFile, EveryTwoCutsGiveTheSameLines) {
  const struct {
    const char* content;
    Lines lines;
  } files[] = {
      {"one\ntwo\n\nfour\n", {"one", "two", "", "four"}},
      {"one\r\ntwo\r\n\r\nfour\r\n", {"one", "two", "", "four"}},
      {"no end", {"no end"}},
      {"ab\nlast without end", {"ab", "last without end"}},
      {"\n\n\n", {"", "", ""}},
      {"\n", {""}},
      {"a\rb\r\r\nc\r", {"a\rb\r", "c"}},
      {"x", {"x"}},
  };
  for (const auto& file : files) {
    const std::string path = write("file", file.content);
    const std::uint64_t size = std::filesystem::file_size(path);
    for (std::uint64_t a = 0; a <= size; ++a) {
      for (std::uint64_t b = a; b <= size; ++b) {
        SCOPED_TRACE(std::string(file.content) + " cut at " + std::to_string(a) + " and " +
                     std::to_string(b));
        EXPECT_EQ(all_lines({{path, 0, a}, {path, a, b}, {path, b, size}}), file.lines);
      }
    }
  }
}

TEST_F(TextFile, ChunksOfLongLinesEndEarly) {
  const std::string line(kChunkBytes / 2, 'x');
  const std::string path = write("file", line + "\n" + line + "\n" + line + "\n");
  const auto stream = read_lines({path, 0, std::filesystem::file_size(path)});
  EXPECT_EQ(stream->next().size, 2U);
  EXPECT_EQ(stream->next().size, 1U);
  EXPECT_EQ(stream->next().size, 0U);
}

TEST_F(TextFile, AnyNumberOfPiecesGivesTheSameLines) {
  std::string content;
  Lines lines;
  for (int i = 0; i < 3000; ++i) {
    lines.push_back(std::string(static_cast<std::size_t>(i % 40), 'x') + std::to_string(i));
    content += lines.back() + "\n";
  }
  const std::string path = write("file", content);
  for (const std::uint32_t pieces : {1U, 2U, 3U, 7U, 100U}) {
    const auto planned = plan_text_file(path, pieces);
    EXPECT_GE(planned.size(), pieces);
    EXPECT_LE(planned.size(), pieces + 1);
    EXPECT_EQ(all_lines(planned), lines);
  }
}

TEST_F(TextFile, LinesMayBeLongerThanOneRead) {
  const Lines lines = {std::string(1'000'000, 'a'), "b", std::string(300'000, 'c')};
  const std::string path = write("file", lines[0] + "\n" + lines[1] + "\n" + lines[2]);
  for (const std::uint32_t pieces : {1U, 2U, 10U}) {
    EXPECT_EQ(all_lines(plan_text_file(path, pieces)), lines);
  }
}

TEST_F(TextFile, PiecesAreContiguousAndCoverTheFile) {
  const std::string path = write("file", std::string(1000, 'x'));
  std::uint64_t at = 0;
  for (const TextPiece& piece : plan_text_file(path, 7)) {
    EXPECT_EQ(piece.begin, at);
    EXPECT_GT(piece.end, piece.begin);
    at = piece.end;
  }
  EXPECT_EQ(at, 1000U);
}

TEST_F(TextFile, AnEmptyFileHasNoLines) {
  EXPECT_EQ(all_lines(plan_text_file(write("empty", ""), 3)), Lines{});
}

TEST_F(TextFile, ADirectoryIsReadInTheOrderOfItsNames) {
  write("b", "3\n4\n");
  write("a", "1\n2");
  write("c", "");
  write(".hidden", "no\n");
  std::filesystem::create_directory(folder() + "/folder");
  EXPECT_EQ(all_lines(plan_text_file(folder(), 1)), (Lines{"1", "2", "3", "4"}));
  EXPECT_EQ(all_lines(plan_text_file(folder(), 4)), (Lines{"1", "2", "3", "4"}));
}

TEST_F(TextFile, PathsAreMadeAbsoluteForTheWorkers) {
  const auto before = std::filesystem::current_path();
  write("file", "line\n");
  std::filesystem::current_path(folder());
  const auto pieces = plan_text_file("file", 1);
  std::filesystem::current_path(before);
  EXPECT_EQ(all_lines(pieces), Lines{"line"});
}

TEST_F(TextFile, PiecesTravel) {
  const TextPiece piece{"/path", 3, 9};
  const auto copy = decode<TextPiece>(encode(piece));
  EXPECT_EQ(copy.path, "/path");
  EXPECT_EQ(copy.begin, 3U);
  EXPECT_EQ(copy.end, 9U);
}

TEST_F(TextFile, WhatIsMissingIsNamed) {
  const std::string path = folder() + "/missing";
  try {
    (void)plan_text_file(path, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
  try {
    (void)read_lines({path, 0, 5});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnreachable);
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace weir::internal
