// Finds libmpi with the system's loader, as LD_LIBRARY_PATH and ld.so.conf lead it.
#include "mpi_library.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <stdexcept>

namespace lianlu {

namespace {

std::mutex loading;
std::atomic<const MpiLibrary*> loaded{nullptr};

void* openLibrary() {
  std::string tried;
  for (const char* name : {"libmpi.so.40", "libmpi.so", "libmpi.dylib"}) {
    // Global: the library's own plug-ins look its symbols up.
    if (void* library = dlopen(name, RTLD_NOW | RTLD_GLOBAL)) return library;
    if (tried.empty()) tried = dlerror();
  }
  throw std::runtime_error("Open MPI's library was not found (" + tried + ")");
}

}  // namespace

const MpiLibrary* loadedMpiLibrary() { return loaded.load(); }

const MpiLibrary& mpiLibrary() {
  std::lock_guard guard(loading);
  if (loaded) return *loaded;
  void* library = openLibrary();
  auto* found = new MpiLibrary{};
  const auto symbol = [library](const char* name) {
    void* address = dlsym(library, name);
    if (!address) throw std::runtime_error(std::string("libmpi has no ") + name + ": Open MPI is expected, not another MPI");
    return address;
  };
  found->world = symbol("ompi_mpi_comm_world");
  found->bytes = symbol("ompi_mpi_byte");
  found->errorsReturn = symbol("ompi_mpi_errors_return");
  const auto function = [&](auto& target, const char* name) {
    target = reinterpret_cast<std::remove_reference_t<decltype(target)>>(symbol(name));
  };
  function(found->initThread, "MPI_Init_thread");
  function(found->finalize, "MPI_Finalize");
  function(found->abort, "MPI_Abort");
  function(found->commRank, "MPI_Comm_rank");
  function(found->commSize, "MPI_Comm_size");
  function(found->setErrorHandler, "MPI_Comm_set_errhandler");
  function(found->errorText, "MPI_Error_string");
  function(found->libraryVersion, "MPI_Get_library_version");
  function(found->send, "MPI_Isend");
  function(found->receive, "MPI_Irecv");
  function(found->testAll, "MPI_Testall");
  function(found->test, "MPI_Test");
  loaded = found;
  return *found;
}

}  // namespace lianlu
