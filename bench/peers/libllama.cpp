// llama.cpp's library driven directly through its C API, as a peer for the benchmarks: reads commands, prints numbers.
// Usage: libllama DIRECTORY MODEL THREADS CONTEXT SEQUENCES, where DIRECTORY holds the shared libraries of node-llama-cpp.
// The parameter structures come from the library's own defaults as opaque bytes; only their leading fields are named.
#include <dirent.h>
#include <dlfcn.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

/** Larger than any of the library's parameter structures; returned and passed in memory, as they are. */
struct Parameters {
  alignas(16) char bytes[1024];
};

/** The first fields of llama_context_params. */
struct ContextHead {
  uint32_t context, batch, microBatch, sequences;
};

struct Batch {
  int32_t count;
  int32_t* token;
  float* embedding;
  int32_t* position;
  int32_t* sequenceCount;
  int32_t** sequence;
  int8_t* wanted;
};

[[noreturn]] void fail(const std::string& message) {
  fprintf(stderr, "%s\n", message.c_str());
  exit(1);
}

std::string findLibrary(const std::string& directory, const std::string& prefix) {
  DIR* listing = opendir(directory.c_str());
  if (!listing) fail("no directory " + directory);
  std::string found;
  while (const dirent* entry = readdir(listing)) {
    const std::string name = entry->d_name;
    if (name.rfind(prefix + ".", 0) == 0 && name.size() > 3 && name.substr(name.size() - 3) == ".so") found = name;
  }
  closedir(listing);
  if (found.empty()) fail("no " + prefix + " in " + directory);
  return directory + "/" + found;
}

void* open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) fail(dlerror());
  return library;
}

template <typename Function>
Function* find(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (!symbol) fail(std::string("no ") + name);
  return reinterpret_cast<Function*>(symbol);
}

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/** Rows of one call, of any sequences. */
struct Rows {
  std::vector<int32_t> token, position, counts, names;
  std::vector<int32_t*> sequence;
  std::vector<int8_t> wanted;

  void add(int32_t id, int32_t at, int32_t of, bool wants) {
    token.push_back(id);
    position.push_back(at);
    counts.push_back(1);
    names.push_back(of);
    wanted.push_back(wants);
  }
  Batch batch() {
    sequence.clear();
    for (int32_t& name : names) sequence.push_back(&name);
    return {(int32_t)token.size(), token.data(), nullptr, position.data(), counts.data(), sequence.data(), wanted.data()};
  }
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) fail("usage: libllama DIRECTORY MODEL THREADS CONTEXT SEQUENCES");
  const std::string directory = arguments[1];
  const int threads = atoi(arguments[3]);
  void* ggml = open(findLibrary(directory, "libggml"));
  void* llama = open(findLibrary(directory, "libllama"));
  find<void(void (*)(int, const char*, void*), void*)>(llama, "llama_log_set")([](int, const char*, void*) {}, nullptr);
  find<void(const char*)>(ggml, "ggml_backend_load_all_from_path")(directory.c_str());
  find<void()>(llama, "llama_backend_init")();
  const Parameters modelParameters = find<Parameters()>(llama, "llama_model_default_params")();
  void* model = find<void*(const char*, Parameters)>(llama, "llama_model_load_from_file")(arguments[2], modelParameters);
  if (!model) fail("llama.cpp does not load the model");
  Parameters contextParameters = find<Parameters()>(llama, "llama_context_default_params")();
  ContextHead head;
  memcpy(&head, contextParameters.bytes, sizeof head);
  head.context = (uint32_t)atoi(arguments[4]);
  head.sequences = (uint32_t)atoi(arguments[5]);
  head.context *= head.sequences;
  memcpy(contextParameters.bytes, &head, sizeof head);
  void* context = find<void*(void*, Parameters)>(llama, "llama_init_from_model")(model, contextParameters);
  if (!context) fail("llama.cpp makes no context");
  find<void(void*, int32_t, int32_t)>(llama, "llama_set_n_threads")(context, threads, threads);
  void* memory = find<void*(void*)>(llama, "llama_get_memory")(context);
  auto* clear = find<void(void*, bool)>(llama, "llama_memory_clear");
  auto* decode = find<int32_t(void*, Batch)>(llama, "llama_decode");
  auto* logitsOf = find<float*(void*, int32_t)>(llama, "llama_get_logits_ith");
  void* vocabulary = const_cast<void*>(find<const void*(const void*)>(llama, "llama_model_get_vocab")(model));
  const int32_t ids = find<int32_t(const void*)>(llama, "llama_vocab_n_tokens")(vocabulary);

  const auto run = [&](Rows& rows) {
    if (decode(context, rows.batch()) != 0) fail("llama_decode failed");
  };
  const auto largest = [&](int32_t row) {
    const float* logits = logitsOf(context, row);
    int32_t best = 0;
    for (int32_t id = 1; id < ids; id++) best = logits[id] > logits[best] ? id : best;
    return best;
  };
  const auto idAt = [&](long place) { return (int32_t)(300 + (place * 7919) % (ids > 31000 ? 31000 : ids - 300)); };

  puts("ready");
  fflush(stdout);
  char command[32];
  while (scanf("%31s", command) == 1) {
    clear(memory, true);
    if (strcmp(command, "prompt") == 0) {
      int tokens;
      if (scanf("%d", &tokens) != 1) fail("prompt TOKENS");
      Rows rows;
      for (int i = 0; i < tokens; i++) rows.add(idAt(i), i, 0, i == tokens - 1);
      const double started = now();
      run(rows);
      largest(tokens - 1);
      printf("%f\n", now() - started);
    } else if (strcmp(command, "decode") == 0) {
      int from, steps, streams;
      if (scanf("%d %d %d", &from, &steps, &streams) != 3) fail("decode FROM STEPS STREAMS");
      std::vector<int32_t> next((size_t)streams);
      for (int s = 0; s < streams; s++) {
        Rows rows;
        for (int i = 0; i < from; i++) rows.add(idAt(i + 31L * s), i, s, i == from - 1);
        run(rows);
        next[(size_t)s] = largest(from - 1);
      }
      const double started = now();
      for (int step = 0; step < steps; step++) {
        Rows rows;
        for (int s = 0; s < streams; s++) rows.add(next[(size_t)s], from + step, s, true);
        run(rows);
        for (int s = 0; s < streams; s++) next[(size_t)s] = largest(s);
      }
      printf("%f\n", now() - started);
    } else if (strcmp(command, "score") == 0) {
      // For each position but the last: the likeliest next id, and the log-probability of the id that follows.
      int tokens;
      if (scanf("%d", &tokens) != 1) fail("score COUNT ID...");
      std::vector<int32_t> given((size_t)tokens);
      for (int32_t& id : given) {
        if (scanf("%d", &id) != 1) fail("score COUNT ID...");
      }
      for (int begin = 0; begin < tokens; begin += 512) {
        Rows rows;
        const int end = begin + 512 < tokens ? begin + 512 : tokens;
        for (int i = begin; i < end; i++) rows.add(given[(size_t)i], i, 0, true);
        run(rows);
        for (int i = begin; i < end && i + 1 < tokens; i++) {
          const float* logits = logitsOf(context, i - begin);
          const float most = logits[largest(i - begin)];
          double sum = 0;
          for (int32_t id = 0; id < ids; id++) sum += exp((double)(logits[id] - most));
          printf("%d %f ", largest(i - begin), (double)(logits[given[(size_t)i + 1]] - most) - log(sum));
        }
      }
      puts("");
    } else {
      fail("unknown command");
    }
    fflush(stdout);
  }
}
