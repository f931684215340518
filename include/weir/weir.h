#pragma once

/// Everything a job needs but its connectors: contexts, datasets, streams and every master.
#include "weir/cluster/local_cluster.h"
#include "weir/core/context.h"
#include "weir/core/split.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/streaming_context.h"
