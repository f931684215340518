# find_package(weir) from another project: targets weir::weir (all), core, dstream, cluster, files, sockets,
# kafka.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)

get_property(libraries GLOBAL PROPERTY WEIR_LIBRARIES)
install(TARGETS ${libraries} weir_all EXPORT weirTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT weirTargets NAMESPACE weir:: DESTINATION ${package_dir})
foreach(folder core cluster dstream connectors)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir
          FILES_MATCHING PATTERN "*.h" PATTERN "*_internal.h" EXCLUDE)
endforeach()
install(FILES include/weir/weir.h include/weir/testing.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir)

configure_package_config_file(cmake/weirConfig.cmake.in ${PROJECT_BINARY_DIR}/weirConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weirConfig.cmake ${PROJECT_BINARY_DIR}/weirConfigVersion.cmake
              cmake/Dependencies.cmake DESTINATION ${package_dir})
