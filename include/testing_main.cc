#include <gtest/gtest.h>

#include "weir/testing.h"

int main(int argc, char** argv) {
  weir::testing::init(&argc, argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
