#pragma once

/// Everything a job needs: contexts, datasets, streams, every master, files and sockets. Other
/// connectors have headers of their own.
#include "weir/cluster/local_cluster.h"
#include "weir/connectors/files.h"
#include "weir/connectors/sockets.h"
#include "weir/core/context.h"
#include "weir/core/split.h"
#include "weir/dstream/dstream.h"
#include "weir/dstream/streaming_context.h"
