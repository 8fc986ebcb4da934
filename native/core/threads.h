// A small pool of threads that shares out numbered pieces of work.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace smartsplat {

class ThreadPool {
 public:
  // As many threads as the system gives, at most `threads`, the caller's included. In a process forked later the
  // caller's is the only one.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(piece, thread) for every piece in [0, pieces), in any order, on all threads, the
  // caller's included; returns when all are done. `thread` is in [0, size()).
  void run(int64_t pieces, const std::function<void(int64_t, int)>& work);

  // Calls work(begin, end, thread) for [0, count) in pieces of `size`, the last of which may be shorter.
  template <class Work>
  void run_in_pieces(int64_t count, int64_t size, const Work& work) {
    run((count + size - 1) / size,
        [&](int64_t piece, int thread) { work(piece * size, std::min((piece + 1) * size, count), thread); });
  }

 private:
  void take_pieces(int thread);
  void serve(int thread);

  const int process_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int64_t, int)>* work_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t pieces_ = 0;
  int64_t round_ = 0;
  int busy_ = 0;
  bool stop_ = false;
};

}  // namespace smartsplat
