// What ranks exchange: sums of vectors in parts, parts of vectors, and small sums. Runs in the one thread that speaks MPI.
// Every sum is taken in the order of ranks by whoever owns it, so it has the same bits on all and from run to run, which
// a library's own reductions do not promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mpi_library.h"

namespace lianlu {

/** A process of the job, for messages. */
struct MpiPeer {
  char host[256];
  int64_t process;
};

struct MpiWorld {
  const MpiLibrary* library = nullptr;
  int rank = 0;
  int size = 1;
  std::vector<MpiPeer> peers;
  double bytesSent = 0;
  double bytesReceived = 0;
};

/** Pieces of memory that together are one vector. */
struct MpiVector {
  struct Piece {
    uint8_t* data;
    size_t begin, end;  // bytes within the vector
  };
  std::vector<Piece> pieces;
  size_t bytes = 0;
  void add(void* data, size_t length);
  void read(size_t begin, size_t length, uint8_t* to) const;
  void write(size_t begin, size_t length, const uint8_t* from) const;
};

/**
 * How a vector is dealt out. It has as many parts as there are ranks; bounds[p] .. bounds[p + 1] are the bytes of part p.
 * Ranks stand in groups of `group` in their order; shard s of a group is `size / group` parts that follow each other, and
 * the s-th rank of every group has it. Part p is summed by the rank that ownerOf gives.
 */
struct MpiDeal {
  std::vector<size_t> bounds;
  int group = 1;
};

/** The parts of one shard; they are summed by the ranks that have the shard, one in each group. */
inline int replicas(const MpiWorld& world, const MpiDeal& deal) { return world.size / deal.group; }
inline int ownerOf(const MpiWorld& world, const MpiDeal& deal, int part) {
  return part % replicas(world, deal) * deal.group + part / replicas(world, deal);
}

/** Each of these waits at most `limit` seconds at a time, and throws std::runtime_error that names the rank waited for. */

/** Fills world: rank, size, peers. After MPI_Init_thread. */
void meetPeers(MpiWorld& world, double limit);
/** Floats: the shard that this rank has becomes its sum over all ranks; the rest of the vector stays as it was. */
void reduceShards(MpiWorld& world, const MpiVector& vector, const MpiDeal& deal, double limit);
/** Sends this rank's shard to its group, and receives theirs. */
void gatherShards(MpiWorld& world, const MpiVector& vector, const MpiDeal& deal, double limit);
/** Doubles: each becomes its sum over all ranks, on each. */
void sumEverywhere(MpiWorld& world, const MpiVector& vector, double limit);
void sendTo(MpiWorld& world, const MpiVector& vector, int to, double limit);
void receiveFrom(MpiWorld& world, const MpiVector& vector, int from, double limit);

}  // namespace lianlu
