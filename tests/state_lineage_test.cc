// What one operator's state is made of, as records name it, over changing numbers of partitions.

#include "weir/dstream/state_lineage.h"

#include <gtest/gtest.h>

namespace weir::internal {
namespace {

constexpr std::uint32_t kGroups = 8;

StatePiece piece(const std::string& file, std::uint64_t length = 10) {
  return {file, 0, length, 1};
}

std::vector<std::string> files(const std::vector<StateStep>& steps) {
  std::vector<std::string> all;
  for (const StateStep& step : steps) {
    all.push_back(std::to_string(step.sequence) + step.piece.file);
  }
  return all;
}
using Files = std::vector<std::string>;

TEST(StateLineage, BeginsWithNothing) {
  StateLineage lineage;
  lineage.append(1, {}, kGroups);
  EXPECT_EQ(lineage.partitions, 0U);
  lineage.append(2, {piece("a"), piece("b")}, kGroups);
  EXPECT_EQ(lineage.partitions, 2U);
  EXPECT_EQ(files(lineage.steps[0]), Files{"2a"});
  EXPECT_EQ(files(lineage.steps[1]), Files{"2b"});
}

TEST(StateLineage, PartitionsThatWereNotUpdatedGetNoStep) {
  StateLineage lineage;
  lineage.append(1, {piece("a"), piece("", 0)}, kGroups);
  lineage.append(2, {piece("", 0), piece("b")}, kGroups);
  EXPECT_EQ(files(lineage.steps[0]), Files{"1a"});
  EXPECT_EQ(files(lineage.steps[1]), Files{"2b"});
}

TEST(StateLineage, MorePartitionsTakeOverWhatOverlapsThem) {
  StateLineage lineage;
  lineage.append(1, {piece("a"), piece("b")}, kGroups);
  lineage.append(2, {piece("c"), piece("d"), piece("e"), piece("f")}, kGroups);
  EXPECT_EQ(lineage.partitions, 4U);
  EXPECT_EQ(files(lineage.steps[0]), (Files{"1a", "2c"}));
  EXPECT_EQ(files(lineage.steps[1]), (Files{"1a", "2d"}));
  EXPECT_EQ(files(lineage.steps[2]), (Files{"1b", "2e"}));
  EXPECT_EQ(files(lineage.steps[3]), (Files{"1b", "2f"}));
}

TEST(StateLineage, FewerPartitionsTakeOverSeveralInTheOrderOfBatches) {
  StateLineage lineage;
  lineage.append(1, {piece("a"), piece("b")}, kGroups);
  lineage.append(2, {piece("c"), piece("d")}, kGroups);
  lineage.append(3, {piece("e")}, kGroups);
  EXPECT_EQ(files(lineage.steps[0]), (Files{"1a", "1b", "2c", "2d", "3e"}));
}

TEST(StateLineage, ThereAndBackAgainNamesNoPieceTwice) {
  StateLineage lineage;
  lineage.append(1, {piece("a"), piece("b")}, kGroups);
  lineage.repartition(8, kGroups);
  lineage.repartition(2, kGroups);
  lineage.repartition(1, kGroups);
  EXPECT_EQ(files(lineage.steps[0]), (Files{"1a", "1b"}));
}

TEST(StateLineage, ASnapshotCountsForTheGroupsItsPartitionHad) {
  StateLineage lineage;
  lineage.partitions = 2;
  lineage.steps = {{{1, true, piece("a")}}, {{1, true, piece("b")}}};
  lineage.repartition(1, kGroups);
  ASSERT_EQ(files(lineage.steps[0]), (Files{"1a", "1b"}));
  EXPECT_EQ(lineage.steps[0][0].begin_group, 0U);
  EXPECT_EQ(lineage.steps[0][0].end_group, 4U);
  EXPECT_EQ(lineage.steps[0][1].begin_group, 4U);
  EXPECT_EQ(lineage.steps[0][1].end_group, 8U);
}

}  // namespace
}  // namespace weir::internal
