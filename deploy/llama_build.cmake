# Read by CMake right after llama.cpp's own project() call (CMAKE_PROJECT_<name>_INCLUDE).
# llama-cpp-python forces LLAMA_BUILD_COMMON on, and never installs what it builds: it is more than half of the
# compile. A plain variable here shadows that cache entry.
set(LLAMA_BUILD_COMMON OFF)
