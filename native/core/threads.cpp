#include "core/threads.h"

#if defined(__wasm__)

namespace smartsplat {

ThreadPool::ThreadPool(int) {}

ThreadPool::~ThreadPool() = default;

void ThreadPool::run(int64_t pieces, const std::function<void(int64_t, int)>& work) {
  for (int64_t piece = 0; piece < pieces; ++piece) work(piece, 0);
}

}  // namespace smartsplat

#else

#include <system_error>
#include <utility>

#ifdef _WIN32
static int process() { return 0; }
#else
#include <unistd.h>
static int process() { return static_cast<int>(getpid()); }
#endif

namespace smartsplat {

ThreadPool::ThreadPool(int threads) : process_(process()), shared_(std::make_unique<Shared>()) {
  Shared* shared = shared_.get();
  try {
    for (int thread = 1; thread < threads; ++thread) {
      shared->workers.emplace_back([shared, thread] { shared->serve(thread); });
    }
  } catch (const std::system_error&) {  // as many as the system gives
  }
  size_ = static_cast<int>(shared->workers.size()) + 1;
}

ThreadPool::~ThreadPool() {
  if (forked()) {
    shared_.release();  // NOLINT: see Shared
    return;
  }
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->start.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

bool ThreadPool::forked() const { return process_ != process(); }

void ThreadPool::run(int64_t pieces, const std::function<void(int64_t, int)>& work) {
  if (size_ == 1 || pieces <= 1 || forked()) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->work = &work;
    shared_->pieces = pieces;
    shared_->next.store(0);
    shared_->busy = size_ - 1;
    ++shared_->round;
  }
  shared_->start.notify_all();
  shared_->take_pieces(0);
  std::unique_lock<std::mutex> lock(shared_->mutex);
  shared_->done.wait(lock, [this] { return shared_->busy == 0; });
  if (shared_->problem) std::rethrow_exception(std::exchange(shared_->problem, nullptr));
}

void ThreadPool::Shared::take_pieces(int thread) {
  try {
    for (int64_t piece; (piece = next.fetch_add(1)) < pieces;) (*work)(piece, thread);
  } catch (...) {
    next.store(pieces);  // nobody begins another one
    std::lock_guard<std::mutex> lock(mutex);
    if (!problem) problem = std::current_exception();
  }
}

void ThreadPool::Shared::serve(int thread) {
  int64_t seen = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      start.wait(lock, [&] { return stop || round != seen; });
      if (stop) return;
      seen = round;
    }
    take_pieces(thread);
    std::lock_guard<std::mutex> lock(mutex);
    if (--busy == 0) done.notify_one();
  }
}

}  // namespace smartsplat

#endif
