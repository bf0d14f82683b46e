// A queue with one worker. What it uses lives as long as the process: the thread may outlast whoever made it.
#include "mpi_thread.h"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace lianlu {

namespace {

using Clock = std::chrono::steady_clock;

/** How long a process that leaves waits for the others to do so, before it leaves alone. */
constexpr auto farewell = std::chrono::seconds(20);

struct MpiThread {
  std::mutex lock;
  std::condition_variable changed;
  std::deque<MpiJob> waiting;
  long submitted = 0;
  long done = 0;
  bool opened = false;
  bool leaving = false;
  bool left = false;
  std::string error;
  MpiWorld world;
  std::string version;
  MpiCounts counts{};
};

MpiThread& state() {
  static MpiThread* thread = new MpiThread;
  return *thread;
}

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void perform(MpiWorld& world, const MpiJob& job) {
  switch (job.task) {
    case MpiTask::reduce: return reduceShards(world, job.vector, job.deal, job.limit);
    case MpiTask::gather: return gatherShards(world, job.vector, job.deal, job.limit);
    case MpiTask::sum: return sumEverywhere(world, job.vector, job.limit);
    case MpiTask::send: return sendTo(world, job.vector, job.other, job.limit);
    case MpiTask::receive: return receiveFrom(world, job.vector, job.other, job.limit);
  }
}

void open(MpiThread& thread, double limit) {
  const MpiLibrary& mpi = mpiLibrary();
  int provided = 0;
  if (mpi.initThread(nullptr, nullptr, mpiThreadMultiple, &provided) != 0) throw std::runtime_error("MPI_Init_thread failed");
  mpi.setErrorHandler(mpi.world, mpi.errorsReturn);
  MpiWorld& world = thread.world;
  world.library = &mpi;
  mpi.commRank(mpi.world, &world.rank);
  mpi.commSize(mpi.world, &world.size);
  char text[mpiLongestText] = "";
  int length = 0;
  mpi.libraryVersion(text, &length);
  thread.version = text;
  meetPeers(world, limit);
}

/** Leaves once all is done; without a word to the others after an error, so that they are ended too. */
void serve(MpiThread& thread) {
  std::unique_lock guard(thread.lock);
  for (;;) {
    thread.changed.wait(guard, [&] { return !thread.waiting.empty() || thread.leaving; });
    if (thread.waiting.empty()) break;
    const MpiJob job = std::move(thread.waiting.front());
    thread.waiting.pop_front();
    if (thread.error.empty()) {
      guard.unlock();
      const auto start = Clock::now();
      const double sent = thread.world.bytesSent, received = thread.world.bytesReceived;
      std::string error;
      try {
        perform(thread.world, job);
      } catch (const std::exception& caught) {
        error = caught.what();
      }
      const double seconds = secondsSince(start);
      guard.lock();
      thread.error = error;
      thread.counts.busySeconds += seconds;
      if (job.task == MpiTask::reduce || job.task == MpiTask::gather) {
        thread.counts.bytesSent += thread.world.bytesSent - sent;
        thread.counts.bytesReceived += thread.world.bytesReceived - received;
      }
    }
    thread.done++;
    thread.changed.notify_all();
  }
  if (thread.error.empty()) {
    guard.unlock();
    thread.world.library->finalize();
    guard.lock();
  }
  thread.left = true;
  thread.changed.notify_all();
}

void leave() {
  MpiThread& thread = state();
  std::unique_lock guard(thread.lock);
  thread.leaving = true;
  thread.changed.notify_all();
  thread.changed.wait_for(guard, farewell, [&] { return thread.left; });
}

}  // namespace

void openMpi(double limit) {
  MpiThread& thread = state();
  std::unique_lock guard(thread.lock);
  if (thread.opened) return;
  thread.opened = true;
  bool ready = false;
  std::thread([&thread, &ready, limit] {
    std::string error;
    try {
      open(thread, limit);
    } catch (const std::exception& caught) {
      error = caught.what();
    }
    {
      std::lock_guard guard(thread.lock);
      thread.error = error;
      ready = true;
      thread.changed.notify_all();
    }
    if (error.empty()) serve(thread);
  }).detach();
  thread.changed.wait(guard, [&] { return ready; });
  if (!thread.error.empty()) throw std::runtime_error(thread.error);
  std::atexit(leave);
}

const MpiWorld& mpiWorld() { return state().world; }
std::string mpiVersion() { return state().version; }

long submitMpi(MpiJob&& job) {
  MpiThread& thread = state();
  std::lock_guard guard(thread.lock);
  thread.waiting.push_back(std::move(job));
  thread.changed.notify_all();
  return ++thread.submitted;
}

void waitMpi(long number) {
  MpiThread& thread = state();
  std::unique_lock guard(thread.lock);
  const auto start = Clock::now();
  thread.changed.wait(guard, [&] { return thread.done >= number; });
  thread.counts.waitedSeconds += secondsSince(start);
  if (!thread.error.empty()) throw std::runtime_error(thread.error);
}

MpiCounts mpiCounts() {
  MpiThread& thread = state();
  std::lock_guard guard(thread.lock);
  return thread.counts;
}

void abortMpi(int code) {
  if (const MpiLibrary* mpi = loadedMpiLibrary()) mpi->abort(mpi->world, code);
  _exit(code);
}

}  // namespace lianlu
