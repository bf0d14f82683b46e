// The one thread pool of the process, and the memory that kernels borrow while they run.
// A kernel runs while its caller holds `poolLock()`: until it returns, workers and scratch are its alone, whatever
// other JavaScript threads do. Kernels must give the same bits for any number of threads: split the outputs, never a sum.
#pragma once

#include <stddef.h>

#include <mutex>

namespace lianlu {

/** Serialises kernels of different JavaScript threads; taken by the bindings, not by kernels. */
std::mutex& poolLock();

/** Threads that take part in a kernel, the caller included. First LIANLU_THREADS, or the machine's cores. */
int threads();
/** 1..256, for the process. Takes effect with the next kernel. */
void setThreads(int count);

/** Runs body(context, thread) on every thread that comes in time, on the caller (thread 0) in any case; waits for all. */
void runTeam(void (*body)(void* context, int thread), void* context);

/** 64-byte aligned, huge pages asked for where large; kept and grown from kernel to kernel. Throws std::bad_alloc. */
void* sharedScratch(size_t bytes);
/** A part of its own for each thread: thread t's begins at result + t * stride; stride is `bytes` rounded up. */
struct ThreadScratch {
  char* begin;
  size_t stride;
  void* of(int thread) const { return begin + stride * (size_t)thread; }
};
ThreadScratch threadScratch(size_t bytes);

/** 64-byte aligned memory, zeroed, with huge pages where large; nullptr where there is none. Release with freeAligned. */
void* allocateAligned(size_t bytes);
void freeAligned(void* memory, size_t bytes);

/** One step of waiting for another thread: spins first, then lets others run. */
void waitABit(int& spins);

/** A counter that threads claim work from; on a cache line of its own. */
struct alignas(64) Counter {
  long value = 0;
  long take(long step) { return __atomic_fetch_add(&value, step, __ATOMIC_ACQ_REL); }
  long read() const { return __atomic_load_n(&value, __ATOMIC_ACQUIRE); }
};

/**
 * body(begin, end, thread) over 0..count in pieces of `grain` (begin is a multiple of it), claimed one by one.
 * On one thread, or for one piece, body is called once in place with everything.
 */
template <class Body>
inline void parallelFor(long count, long grain, Body&& body) {
  if (count <= 0) return;
  if (count <= grain || threads() == 1) {
    body(0L, count, 0);
    return;
  }
  struct Work {
    Body& body;
    long count, grain;
    Counter next;
  } work{body, count, grain, {}};
  runTeam(
      [](void* context, int thread) {
        Work& w = *static_cast<Work*>(context);
        for (long begin; (begin = w.next.take(w.grain)) < w.count;) {
          w.body(begin, begin + w.grain < w.count ? begin + w.grain : w.count, thread);
        }
      },
      &work);
}

}  // namespace lianlu
