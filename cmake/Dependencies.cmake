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
pkg_check_modules(lz4 REQUIRED IMPORTED_TARGET liblz4)

# The allocator of programs that link weir::weir. tcmalloc was the fastest of these over `scripts/bench
# core` and memory_bench (bench/README.md); glibc's needs nothing.
set(WEIR_ALLOCATOR "" CACHE STRING
    "Allocator of jobs: glibc, jemalloc, tcmalloc or mimalloc; empty: tcmalloc if it is there")
set_property(CACHE WEIR_ALLOCATOR PROPERTY STRINGS "" glibc jemalloc tcmalloc mimalloc)
set(weir_allocator_names_jemalloc jemalloc libjemalloc.so.2)
set(weir_allocator_names_tcmalloc tcmalloc_minimal libtcmalloc_minimal.so.4)
set(weir_allocator_names_mimalloc mimalloc libmimalloc.so.2 libmimalloc.so.2.0)
if(NOT TARGET WeirAllocator::WeirAllocator)
  add_library(WeirAllocator::WeirAllocator INTERFACE IMPORTED)
endif()
if(WEIR_SANITIZE OR CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(weir_allocator glibc)  # sanitizers bring their own
elseif(WEIR_ALLOCATOR STREQUAL "")
  set(weir_allocator tcmalloc)
else()
  set(weir_allocator ${WEIR_ALLOCATOR})
endif()
if(NOT weir_allocator STREQUAL "glibc")
  if(NOT DEFINED weir_allocator_names_${weir_allocator})
    message(FATAL_ERROR "WEIR_ALLOCATOR=${weir_allocator}: not glibc, jemalloc, tcmalloc or mimalloc")
  endif()
  find_library(WEIR_ALLOCATOR_LIBRARY_${weir_allocator} NAMES ${weir_allocator_names_${weir_allocator}})
  mark_as_advanced(WEIR_ALLOCATOR_LIBRARY_${weir_allocator})
  if(WEIR_ALLOCATOR_LIBRARY_${weir_allocator})
    target_link_libraries(WeirAllocator::WeirAllocator
                          INTERFACE ${WEIR_ALLOCATOR_LIBRARY_${weir_allocator}})
  elseif(WEIR_ALLOCATOR)
    message(FATAL_ERROR "WEIR_ALLOCATOR=${weir_allocator}: its library is not installed")
  else()
    message(STATUS "weir: ${weir_allocator} is not installed; jobs use glibc's allocator, which is slower")
  endif()
endif()
