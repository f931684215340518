#pragma once

/// The testing kit: `weir::testing::run_stream` over every master.
#include <weir/dstream/testing_kit.h>
#include <weir/weir.h>
