// The exchanges, made of messages between two ranks each: so a rank that does not answer can be named.
#include "mpi_exchange.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace lianlu {

namespace {

using Clock = std::chrono::steady_clock;

/** Bytes of one message at most: vectors of any length pass through buffers of a few of these. */
constexpr size_t messageBytes = size_t(1) << 20;
/** Where a message goes to every rank, all of them together take about so much. */
constexpr size_t roundBytes = size_t(32) << 20;
constexpr int tag = 1;

/** Bytes of one of the messages that go to all ranks at the same time: whole cache lines. */
size_t messageBytesFor(int size) { return std::clamp(roundBytes / size / 64 * 64, size_t(1) << 16, messageBytes); }

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/** Messages under way, and who is at the other end of each. */
class Messages {
 public:
  explicit Messages(MpiWorld& world) : world(world) {}

  void send(const void* data, size_t bytes, int to) {
    const MpiLibrary& mpi = *world.library;
    check(mpi.send(data, static_cast<int>(bytes), mpi.bytes, to, tag, mpi.world, add(to)), to);
    world.bytesSent += static_cast<double>(bytes);
  }
  void receive(void* data, size_t bytes, int from) {
    const MpiLibrary& mpi = *world.library;
    check(mpi.receive(data, static_cast<int>(bytes), mpi.bytes, from, tag, mpi.world, add(from)), from);
    world.bytesReceived += static_cast<double>(bytes);
  }
  void wait(double limit) {
    const MpiLibrary& mpi = *world.library;
    const auto start = Clock::now();
    for (;;) {
      int done = 0;
      check(mpi.testAll(static_cast<int>(requests.size()), requests.data(), &done, nullptr), -1);
      if (done) break;
      const double waited = secondsSince(start);
      if (waited > limit) throw std::runtime_error(describe(waited));
      // The cores belong to the kernels: this thread yields, then sleeps, longer the longer nothing comes.
      if (waited < 0.0002) sched_yield();
      else usleep(waited < 0.02 ? 20 : 200);
    }
    requests.clear();
    others.clear();
  }

 private:
  MpiHandle* add(int other) {
    others.push_back(other);
    requests.push_back(nullptr);
    return &requests.back();
  }
  std::string nameOf(int other) const {
    if (static_cast<size_t>(other) >= world.peers.size()) return "rank " + std::to_string(other);
    const MpiPeer& peer = world.peers[other];
    return "rank " + std::to_string(other) + " (host " + peer.host + ", process " + std::to_string(peer.process) + ")";
  }
  void check(int code, int other) const {
    if (code == 0) return;
    char text[mpiLongestText] = "";
    int length = 0;
    world.library->errorText(code, text, &length);
    throw std::runtime_error("Open MPI failed" + (other < 0 ? "" : " with " + nameOf(other)) + ": " + text);
  }
  std::string describe(double waited) {
    std::vector<int> missing;
    for (size_t i = 0; i < requests.size(); i++) {
      int done = 0;
      world.library->test(&requests[i], &done, nullptr);
      if (!done && std::find(missing.begin(), missing.end(), others[i]) == missing.end()) missing.push_back(others[i]);
    }
    std::string names;
    for (int other : missing) names += (names.empty() ? "" : ", ") + nameOf(other);
    return "no word from " + (names.empty() ? "a rank" : names) + " for " + std::to_string(static_cast<long>(waited)) + " seconds";
  }

  MpiWorld& world;
  std::vector<MpiHandle> requests;
  std::vector<int> others;
};

/** Grows and is kept: one exchange after the other uses it. */
uint8_t* scratch(size_t bytes) {
  static std::vector<uint8_t> memory;
  if (memory.size() < bytes) memory.resize(bytes);
  return memory.data();
}

size_t longestPart(const std::vector<size_t>& bounds) {
  size_t longest = 0;
  for (size_t p = 0; p + 1 < bounds.size(); p++) longest = std::max(longest, bounds[p + 1] - bounds[p]);
  return longest;
}

/** Of the bytes from `begin` to `end`, those of the message that starts `offset` after begin. */
struct Window {
  size_t begin, length;
  Window(size_t begin, size_t end, size_t offset, size_t most)
      : begin(std::min(begin + offset, end)), length(std::min(most, end - std::min(begin + offset, end))) {}
};

void addFloats(float* sum, const float* other, size_t count) {
  for (size_t i = 0; i < count; i++) sum[i] += other[i];
}

}  // namespace

void MpiVector::add(void* data, size_t length) {
  pieces.push_back({static_cast<uint8_t*>(data), bytes, bytes + length});
  bytes += length;
}

namespace {

template <class Copy>
void overPieces(const std::vector<MpiVector::Piece>& pieces, size_t begin, size_t length, Copy copy) {
  const size_t end = begin + length;
  auto piece = std::upper_bound(pieces.begin(), pieces.end(), begin, [](size_t at, const auto& p) { return at < p.end; });
  for (; piece != pieces.end() && piece->begin < end; ++piece) {
    const size_t from = std::max(begin, piece->begin), to = std::min(end, piece->end);
    if (from < to) copy(piece->data + (from - piece->begin), from - begin, to - from);
  }
}

}  // namespace

void MpiVector::read(size_t begin, size_t length, uint8_t* to) const {
  overPieces(pieces, begin, length, [to](uint8_t* data, size_t offset, size_t count) { std::memcpy(to + offset, data, count); });
}

void MpiVector::write(size_t begin, size_t length, const uint8_t* from) const {
  overPieces(pieces, begin, length, [from](uint8_t* data, size_t offset, size_t count) { std::memcpy(data, from + offset, count); });
}

void meetPeers(MpiWorld& world, double limit) {
  MpiPeer self{};
  gethostname(self.host, sizeof self.host - 1);
  self.process = getpid();
  std::vector<MpiPeer> peers(world.size);
  peers[world.rank] = self;
  Messages messages(world);
  for (int other = 0; other < world.size; other++) {
    if (other == world.rank) continue;
    messages.receive(&peers[other], sizeof self, other);
    messages.send(&self, sizeof self, other);
  }
  messages.wait(limit);
  world.peers = std::move(peers);
}

void reduceShards(MpiWorld& world, const MpiVector& vector, const MpiDeal& deal, double limit) {
  const int size = world.size, rank = world.rank, copies = replicas(world, deal);
  const int shard = rank % deal.group, mine = shard * copies + rank / deal.group;
  const auto& bounds = deal.bounds;
  const size_t longest = longestPart(bounds), most = messageBytesFor(size);
  const size_t slot = std::min(most, longest);
  uint8_t* outgoing = scratch(2 * slot * size);
  uint8_t* incoming = outgoing + slot * size;
  Messages messages(world);
  for (size_t offset = 0; offset < longest; offset += most) {
    const Window own(bounds[mine], bounds[mine + 1], offset, most);
    for (int other = 0; other < size; other++) {
      if (other != rank && own.length) messages.receive(incoming + slot * other, own.length, other);
    }
    for (int part = 0; part < size; part++) {
      const int owner = ownerOf(world, deal, part);
      const Window window(bounds[part], bounds[part + 1], offset, most);
      if (!window.length) continue;
      vector.read(window.begin, window.length, owner == rank ? incoming + slot * rank : outgoing + slot * owner);
      if (owner != rank) messages.send(outgoing + slot * owner, window.length, owner);
    }
    messages.wait(limit);
    float* sum = reinterpret_cast<float*>(incoming);
    for (int other = 1; other < size; other++) {
      addFloats(sum, reinterpret_cast<const float*>(incoming + slot * other), own.length / sizeof(float));
    }
    vector.write(own.begin, own.length, incoming);
    if (copies == 1) continue;
    // The ranks that have the same shard tell each other the parts that they have summed.
    for (int copy = 0; copy < copies; copy++) {
      const int part = shard * copies + copy, other = copy * deal.group + shard;
      if (other == rank) continue;
      const Window window(bounds[part], bounds[part + 1], offset, most);
      if (window.length) messages.receive(outgoing + slot * other, window.length, other);
      if (own.length) messages.send(incoming, own.length, other);
    }
    messages.wait(limit);
    for (int copy = 0; copy < copies; copy++) {
      const int part = shard * copies + copy, other = copy * deal.group + shard;
      const Window window(bounds[part], bounds[part + 1], offset, most);
      if (other != rank) vector.write(window.begin, window.length, outgoing + slot * other);
    }
  }
}

void gatherShards(MpiWorld& world, const MpiVector& vector, const MpiDeal& deal, double limit) {
  const int group = deal.group, copies = replicas(world, deal);
  const int first = world.rank / group * group, shard = world.rank % group;
  if (group == 1) return;
  std::vector<size_t> bounds;
  for (int s = 0; s <= group; s++) bounds.push_back(deal.bounds[static_cast<size_t>(s) * copies]);
  const size_t longest = longestPart(bounds), most = messageBytesFor(world.size);
  const size_t slot = std::min(most, longest);
  uint8_t* memory = scratch(slot * (group + 1));
  Messages messages(world);
  for (size_t offset = 0; offset < longest; offset += most) {
    const Window own(bounds[shard], bounds[shard + 1], offset, most);
    vector.read(own.begin, own.length, memory + slot * group);
    for (int s = 0; s < group; s++) {
      if (s == shard) continue;
      const Window window(bounds[s], bounds[s + 1], offset, most);
      if (window.length) messages.receive(memory + slot * s, window.length, first + s);
      if (own.length) messages.send(memory + slot * group, own.length, first + s);
    }
    messages.wait(limit);
    for (int s = 0; s < group; s++) {
      const Window window(bounds[s], bounds[s + 1], offset, most);
      if (s != shard) vector.write(window.begin, window.length, memory + slot * s);
    }
  }
}

void sumEverywhere(MpiWorld& world, const MpiVector& vector, double limit) {
  const size_t bytes = vector.bytes;
  if (bytes > messageBytes) throw std::runtime_error("a small sum of " + std::to_string(bytes) + " bytes");
  uint8_t* memory = scratch(bytes * world.size);
  vector.read(0, bytes, memory + bytes * world.rank);
  Messages messages(world);
  for (int other = 0; other < world.size; other++) {
    if (other == world.rank) continue;
    messages.receive(memory + bytes * other, bytes, other);
    messages.send(memory + bytes * world.rank, bytes, other);
  }
  messages.wait(limit);
  double* sum = reinterpret_cast<double*>(memory);
  const size_t count = bytes / sizeof(double);
  for (int other = 1; other < world.size; other++) {
    for (size_t i = 0; i < count; i++) sum[i] += sum[count * other + i];
  }
  vector.write(0, bytes, memory);
}

void sendTo(MpiWorld& world, const MpiVector& vector, int to, double limit) {
  uint8_t* memory = scratch(std::min(messageBytes, vector.bytes));
  Messages messages(world);
  for (size_t offset = 0; offset < vector.bytes; offset += messageBytes) {
    const Window window(0, vector.bytes, offset, messageBytes);
    vector.read(window.begin, window.length, memory);
    messages.send(memory, window.length, to);
    messages.wait(limit);
  }
}

void receiveFrom(MpiWorld& world, const MpiVector& vector, int from, double limit) {
  uint8_t* memory = scratch(std::min(messageBytes, vector.bytes));
  Messages messages(world);
  for (size_t offset = 0; offset < vector.bytes; offset += messageBytes) {
    const Window window(0, vector.bytes, offset, messageBytes);
    messages.receive(memory, window.length, from);
    messages.wait(limit);
    vector.write(window.begin, window.length, memory);
  }
}

}  // namespace lianlu
