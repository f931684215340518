#pragma once

/// The testing kit: `weir::testing::run_stream` over every master, and a source and a sink whose
/// batches the test holds.
#include <weir/core/memory_sink.h>
#include <weir/dstream/memory_source.h>
#include <weir/dstream/testing_kit.h>
#include <weir/weir.h>
