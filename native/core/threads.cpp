#include "core/threads.h"

#include <system_error>

#ifdef _WIN32
static int process() { return 0; }
#else
#include <unistd.h>
static int process() { return static_cast<int>(getpid()); }
#endif

namespace smartsplat {

ThreadPool::ThreadPool(int threads) : process_(process()) {
  try {
    for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
  } catch (const std::system_error&) {  // as many as the system gives
  }
}

ThreadPool::~ThreadPool() {
  if (process_ != process()) {  // after a fork the workers exist in the parent only
    for (std::thread& worker : workers_) worker.detach();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t pieces, const std::function<void(int64_t, int)>& work) {
  if (workers_.empty() || pieces <= 1 || process_ != process()) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_ = &work;
    pieces_ = pieces;
    next_.store(0);
    busy_ = static_cast<int>(workers_.size());
    ++round_;
  }
  start_.notify_all();
  take_pieces(0);
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return busy_ == 0; });
}

void ThreadPool::take_pieces(int thread) {
  for (int64_t piece; (piece = next_.fetch_add(1)) < pieces_;) (*work_)(piece, thread);
}

void ThreadPool::serve(int thread) {
  int64_t seen = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_;
    }
    take_pieces(thread);
    std::lock_guard<std::mutex> lock(mutex_);
    if (--busy_ == 0) done_.notify_one();
  }
}

}  // namespace smartsplat
