# Outside libraries, found and never downloaded. Installed into the package as well, because users of
# the static libraries link them too.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS serialization)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(GTest QUIET)  # for weir::testing_main only
find_package(PkgConfig REQUIRED)
pkg_check_modules(libzmq REQUIRED IMPORTED_TARGET libzmq>=4.3.4)
pkg_check_modules(rdkafka REQUIRED IMPORTED_TARGET rdkafka>=2.0.2)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
