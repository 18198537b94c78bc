# A C++ program that throws across threads: unwinding, std::exception_ptr, async, condition variables, thread_local.
. "$TESTS/lib.sh"
need g++

cat >"$T/throw.cc" <<'E'
#include <atomic>
#include <condition_variable>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
struct noisy {
    static std::atomic<int> live;
    noisy() { ++live; }
    ~noisy() { --live; }
};
std::atomic<int> noisy::live{0};
static thread_local noisy tls;
[[noreturn]] static void deep(int n) {
    noisy x;
    if (n == 0) throw std::runtime_error("from the depth");
    deep(n - 1);
}
int main() {
    std::vector<std::exception_ptr> caught(16);
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; i++)
        threads.emplace_back([&, i] {
            (void)&tls;
            for (int j = 0; j < 100; j++)
                try { deep(i + j); } catch (...) { caught[i] = std::current_exception(); }
        });
    for (auto &t : threads) t.join();
    int n = 0;
    for (auto &e : caught)
        try { std::rethrow_exception(e); } catch (const std::exception &x) { n += std::string(x.what()) == "from the depth"; }
    std::cout << n << " rethrown" << std::endl;
    auto f = std::async(std::launch::async, [] { deep(3); return 1; });
    try { f.get(); } catch (const std::runtime_error &x) { std::cout << "async: " << x.what() << std::endl; }
    std::promise<int> p;
    std::thread t([&] { try { throw 42; } catch (...) { p.set_exception(std::current_exception()); } });
    try { p.get_future().get(); } catch (int v) { std::cout << "promise: " << v << std::endl; }
    t.join();
    std::mutex m; std::condition_variable cv; int turn = 0;
    std::thread a([&] { for (int i = 0; i < 500; i++) { std::unique_lock l(m); cv.wait(l, [&] { return turn == 0; }); turn = 1; cv.notify_all(); } });
    std::thread b([&] { for (int i = 0; i < 500; i++) { std::unique_lock l(m); cv.wait(l, [&] { return turn == 1; }); turn = 0; cv.notify_all(); } });
    a.join(); b.join();
    std::map<std::string, int> c; std::smatch s; std::string text = "k1=5,k2=7";
    for (std::regex r("(\\w+)=(\\d+)"); std::regex_search(text, s, r); text = s.suffix()) c[s[1]] = std::stoi(s[2]);
    try { (void)c.at("none"); } catch (const std::out_of_range &) { std::cout << c["k1"] + c["k2"] << std::endl; }
    try { std::vector<char> v(SIZE_MAX / 2 - 1); } catch (const std::bad_alloc &) { std::cout << "bad_alloc" << std::endl; }
    std::cout << "balanced: " << (noisy::live <= 1) << std::endl;
    std::set_terminate([] { std::cout << "terminate" << std::endl; std::_Exit(9); });
    std::thread([] { throw 1; }).join();
}
E
g++ -O1 -std=c++17 -pthread -o "$T/throw" "$T/throw.cc" || fail "g++ cannot build the program"
g++ -O1 -std=c++17 -pthread -static -o "$T/throw-static" "$T/throw.cc" || fail "g++ cannot build the static program"
STATUS=9 same "throw across threads, dynamic" "$T/throw"
expect_native "16 rethrown"
STATUS=9 same "throw across threads, static" "$T/throw-static"
finish
