// A small pool of threads that shares out numbered pieces of work; WebAssembly has the caller's alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#if !defined(__wasm__)
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace smartsplat {

class ThreadPool {
 public:
  // As many threads as the system gives, at most `threads`, the caller's included. In a process forked later, even
  // while another thread was inside `run`, the caller's is the only one, and nothing waits for the others.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls work(piece, thread) for every piece in [0, pieces), in any order, on all threads, the
  // caller's included; returns when all are done. `thread` is in [0, size()). Throws the first exception of any of
  // them; then not all of the work is done.
  void run(int64_t pieces, const std::function<void(int64_t, int)>& work);

  // Calls work(begin, end, thread) for [0, count) in pieces of `size`, the last of which may be shorter.
  template <class Work>
  void run_in_pieces(int64_t count, int64_t size, const Work& work) {
    run((count + size - 1) / size,
        [&](int64_t piece, int thread) { work(piece * size, std::min((piece + 1) * size, count), thread); });
  }

#if !defined(__wasm__)
 private:
  // What the workers share with the caller. A forked process has a copy without workers, in whatever state it was:
  // mutexes may be held, and destroying a condition variable would wait for threads that are not there. So it never
  // touches its copy, and leaves it to the end of the process.
  struct Shared {
    void take_pieces(int thread);
    void serve(int thread);

    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable start, done;
    const std::function<void(int64_t, int)>* work = nullptr;
    std::atomic<int64_t> next{0};
    int64_t pieces = 0;
    int64_t round = 0;
    int busy = 0;
    bool stop = false;
    std::exception_ptr problem;
  };

  bool forked() const;

  const int process_;
  int size_ = 1;
  std::unique_ptr<Shared> shared_;
#else
 private:
  int size_ = 1;
#endif
};

}  // namespace smartsplat
