#pragma once

namespace weir {

/// `local-cluster[W,S]`: a `TaskRunner` over W processes of this program on this machine with S
/// slots each, over ipc sockets in a private directory. Dead workers are replaced. See README.md.
///
/// Enters it, and the worker role, into core's registry; true. That this header refers to it keeps
/// it in programs that link the library statically.
bool link_local_cluster();

namespace internal {
inline const bool kLocalClusterLinked = link_local_cluster();
}  // namespace internal

}  // namespace weir
