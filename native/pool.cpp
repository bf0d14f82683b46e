// Workers that spin for a moment after each kernel, then sleep. A late worker never holds a kernel up: work is claimed,
// and the caller waits only for workers that have entered.
#include "pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#if defined(__linux__) || defined(__APPLE__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lianlu {

namespace {

constexpr int maxThreads = 256;
/** How long an idle worker spins: longer than the TypeScript between two kernels, shorter than anyone minds. */
constexpr auto spinTime = std::chrono::microseconds(40);
constexpr size_t hugePage = size_t(2) << 20;
constexpr size_t hugePageWorth = size_t(4) << 20;

struct Pool {
  std::mutex lock;
  int count = 1;
  int started = 0;

  // A job is announced by its number; it is open while workers may still enter.
  alignas(64) std::atomic<uint64_t> announced{0};
  std::atomic<bool> open{false};
  std::atomic<int> participants{1};
  void (*body)(void*, int) = nullptr;
  void* context = nullptr;
  alignas(64) std::atomic<int> inside{0};

  alignas(64) std::mutex sleepLock;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};

  void* shared = nullptr;
  size_t sharedBytes = 0;
  void* own = nullptr;
  size_t ownBytes = 0;
};

int initialThreads() {
  const char* wanted = std::getenv("LIANLU_THREADS");
  int count = wanted ? std::atoi(wanted) : 0;
  if (count < 1) count = (int)std::thread::hardware_concurrency();
  return std::clamp(count, 1, maxThreads);
}

/** Never destroyed: workers may outlive every static destructor. */
Pool& pool() {
  static Pool* const instance = [] {
    Pool* made = new Pool;
    made->count = initialThreads();
    return made;
  }();
  return *instance;
}

void pauseSpin() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

void work(Pool& p, int thread) {
  uint64_t seen = 0;
  for (;;) {
    const auto start = std::chrono::steady_clock::now();
    uint64_t latest;
    for (int spins = 1; (latest = p.announced.load()) == seen; spins++) {
      pauseSpin();
      // A worker beyond the current count has nothing to spin for.
      if (spins % 32 != 0) continue;
      if (thread < p.participants.load() && std::chrono::steady_clock::now() - start < spinTime) continue;
      std::unique_lock guard(p.sleepLock);
      p.sleepers++;
      p.wake.wait(guard, [&] { return p.announced.load() != seen; });
      p.sleepers--;
    }
    seen = latest;
    // Entered is told before open is read, and the caller closes before it reads: one of the two sees the other.
    p.inside++;
    if (p.open.load() && thread < p.participants.load()) p.body(p.context, thread);
    p.inside--;
  }
}

void start(Pool& p, int count) {
  while (p.started < count - 1) {
    const int thread = p.started + 1;
    std::thread([&p, thread] { work(p, thread); }).detach();
    p.started++;
  }
}

size_t roundUp(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

/** Grows a kept block; its old content is lost. */
void* keep(void*& memory, size_t& held, size_t bytes) {
  if (bytes > held) {
    freeAligned(memory, held);
    memory = nullptr;
    held = 0;
    const size_t wanted = roundUp(bytes, 4096);
    memory = allocateAligned(wanted);
    if (!memory) throw std::bad_alloc();
    held = wanted;
  }
  return memory;
}

}  // namespace

std::mutex& poolLock() { return pool().lock; }

int threads() { return pool().count; }

void setThreads(int count) { pool().count = std::clamp(count, 1, maxThreads); }

void runTeam(void (*body)(void*, int), void* context) {
  Pool& p = pool();
  if (p.count > 1) {
    start(p, p.count);
    p.body = body;
    p.context = context;
    p.participants = p.count;
    p.open = true;
    p.announced++;
    if (p.sleepers.load() > 0) {
      { std::lock_guard guard(p.sleepLock); }
      p.wake.notify_all();
    }
  }
  body(context, 0);
  if (p.count > 1) {
    p.open = false;
    for (int spins = 0; p.inside.load() > 0;) waitABit(spins);
  }
}

void* sharedScratch(size_t bytes) {
  Pool& p = pool();
  return keep(p.shared, p.sharedBytes, bytes);
}

ThreadScratch threadScratch(size_t bytes) {
  Pool& p = pool();
  const size_t stride = roundUp(bytes, 4096);
  return {static_cast<char*>(keep(p.own, p.ownBytes, stride * (size_t)p.count)), stride};
}

void* allocateAligned(size_t bytes) {
#if defined(__linux__)
  if (bytes >= hugePageWorth) {
    const size_t size = roundUp(bytes, hugePage);
    // Room to begin on a huge page; the rest is given back.
    char* mapped = static_cast<char*>(
        mmap(nullptr, size + hugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mapped == MAP_FAILED) return nullptr;
    char* begin = reinterpret_cast<char*>(roundUp(reinterpret_cast<size_t>(mapped), hugePage));
    if (begin > mapped) munmap(mapped, (size_t)(begin - mapped));
    const size_t behind = (size_t)(mapped + size + hugePage - (begin + size));
    if (behind > 0) munmap(begin + size, behind);
    madvise(begin, size, MADV_HUGEPAGE);
    return begin;
  }
#endif
  void* memory = std::aligned_alloc(64, roundUp(std::max<size_t>(bytes, 1), 64));
  if (memory) std::memset(memory, 0, bytes);
  return memory;
}

void freeAligned(void* memory, size_t bytes) {
  if (!memory) return;
#if defined(__linux__)
  if (bytes >= hugePageWorth) {
    munmap(memory, roundUp(bytes, hugePage));
    return;
  }
#endif
  std::free(memory);
}

void waitABit(int& spins) {
  if (++spins < 2000) {
    pauseSpin();
  } else {
    std::this_thread::yield();
  }
}

}  // namespace lianlu
