#pragma once

namespace weir {

/// `local-cluster[W,S]`: a `TaskRunner` over W processes of this program on this machine with S
/// slots each, over ipc sockets in a private directory. Dead workers are replaced. See README.md.
///
/// Enters it, and the worker role, into core's registry; true. Weak, because <weir/weir.h> includes
/// this for programs that do not link weir::cluster too; who links that gets it (CMakeLists.txt).
[[gnu::weak]] bool link_local_cluster();

namespace internal {
inline const bool kLocalClusterLinked = link_local_cluster != nullptr && link_local_cluster();
}  // namespace internal

}  // namespace weir
