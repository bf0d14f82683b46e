// The thread that speaks MPI: exchanges are handed to it and done in the order in which they come, while the thread that
// trains goes on. It starts with `openMpi`, and ends the library when the process leaves.
#pragma once

#include <string>

#include "mpi_exchange.h"

namespace lianlu {

enum class MpiTask { reduce, gather, sum, send, receive };

struct MpiJob {
  MpiTask task;
  MpiVector vector;
  /** reduce, gather. */
  MpiDeal deal;
  /** send, receive. */
  int other = 0;
  /** Seconds without a message after which the other rank is given up. */
  double limit = 0;
};

/** Joins the job that mpirun or srun has started; once in a process. Throws std::runtime_error. */
void openMpi(double limit);
/** After openMpi. */
const MpiWorld& mpiWorld();
std::string mpiVersion();

/** Returns the number to wait for. The memory that the job names must stay until it is done. */
long submitMpi(MpiJob&& job);
/** Returns when all jobs up to this one are done. Throws what went wrong with one of them; nothing goes on after that. */
void waitMpi(long number);

struct MpiCounts {
  /** By reduce and gather: small sums and moments on their way to a snapshot are left out. */
  double bytesSent, bytesReceived;
  /** Seconds in which an exchange was at work, and in which a caller waited for one. */
  double busySeconds, waitedSeconds;
};
MpiCounts mpiCounts();

/** Ends all processes of the job, this one too. */
void abortMpi(int code);

}  // namespace lianlu
