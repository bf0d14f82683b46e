// Open MPI as a library found while running: the functions and constants that the exchange needs, and no header of theirs.
// Not for other MPIs: in theirs these constants are numbers, in Open MPI they are addresses of symbols.
#pragma once

#include <cstddef>
#include <string>

namespace lianlu {

using MpiHandle = void*;

struct MpiLibrary {
  int (*initThread)(int* argc, char*** argv, int wanted, int* provided);
  int (*finalize)();
  int (*abort)(MpiHandle comm, int code);
  int (*commRank)(MpiHandle comm, int* rank);
  int (*commSize)(MpiHandle comm, int* size);
  int (*setErrorHandler)(MpiHandle comm, MpiHandle handler);
  int (*errorText)(int code, char* text, int* length);
  int (*libraryVersion)(char* text, int* length);
  int (*send)(const void* data, int count, MpiHandle type, int to, int tag, MpiHandle comm, MpiHandle* request);
  int (*receive)(void* data, int count, MpiHandle type, int from, int tag, MpiHandle comm, MpiHandle* request);
  int (*testAll)(int count, MpiHandle* requests, int* flag, void* statuses);
  int (*test)(MpiHandle* request, int* flag, void* status);
  MpiHandle world;
  MpiHandle bytes;
  MpiHandle errorsReturn;
};

/** MPI_THREAD_MULTIPLE: one thread exchanges, and any may end the job. */
constexpr int mpiThreadMultiple = 3;
/** MPI_MAX_LIBRARY_VERSION_STRING, the longest text that Open MPI writes. */
constexpr size_t mpiLongestText = 8192;

/** Loads libmpi once. Throws std::runtime_error that says what was looked for. */
const MpiLibrary& mpiLibrary();
/** The library where it has been loaded; nullptr else. */
const MpiLibrary* loadedMpiLibrary();

}  // namespace lianlu
