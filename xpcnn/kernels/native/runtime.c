/* What runs compiled kernels: a pool of threads, and the packing of Python's arguments.

   A kernel is a function that does the jobs `first` to `last` on packed arguments, with scratch
   memory of its own for each worker. Jobs are independent, and what they compute does not depend
   on who does them.

   Nothing of Python is linked: its functions are handed over by `xpcnn_connect`, all of them of the
   stable interface, so that one library serves all versions of Python. */

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#define EXPORT __declspec(dllexport)
typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE condition_t;
typedef HANDLE thread_t;
#define LOCK_READY SRWLOCK_INIT
#define CONDITION_READY CONDITION_VARIABLE_INIT
#define lock(l) AcquireSRWLockExclusive(l)
#define try_lock(l) TryAcquireSRWLockExclusive(l)
#define unlock(l) ReleaseSRWLockExclusive(l)
#define wait_for(c, l) SleepConditionVariableSRW(c, l, INFINITE, 0)
#define wake(c) WakeConditionVariable(c)
#define yield_turn() SwitchToThread()
#define doze() Sleep(0)
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#define EXPORT __attribute__((visibility("default")))
typedef pthread_mutex_t lock_t;
typedef pthread_cond_t condition_t;
typedef pthread_t thread_t;
#define LOCK_READY PTHREAD_MUTEX_INITIALIZER
#define CONDITION_READY PTHREAD_COND_INITIALIZER
#define lock(l) pthread_mutex_lock(l)
#define try_lock(l) (pthread_mutex_trylock(l) == 0)
#define unlock(l) pthread_mutex_unlock(l)
#define wait_for(c, l) pthread_cond_wait(c, l)
#define wake(c) pthread_cond_signal(c)
#define yield_turn() sched_yield()
static void doze(void)
{
    struct timespec moment = {0, 50000};
    nanosleep(&moment, NULL);
}
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define pause() _mm_pause()
#elif defined(__aarch64__)
#define pause() __asm__ volatile("yield")
#else
#define pause() ((void)0)
#endif

typedef void (*kernel_t)(int64_t first, int64_t last, int64_t worker, const int64_t *packed);

#define MOST 128          /* threads */
#define MOST_ARGUMENTS 64 /* of a kernel, as in library.py */
#define TRIES 4000        /* looks for work before a thread sleeps: longer than most are apart */
#define PATIENCE 64       /* turns given away to others before a thread that waits dozes */

/* -- The pool ----------------------------------------------------------------------------------

   A launch gives each worker an equal range of the jobs; who is done with its own helps the
   others. So a worker that gets no turn of the processor holds nobody up, unless it is in the
   middle of a job. The thread that launches works too, and takes back what a worker has not begun.
   While one Python thread has the pool, kernels of others run on their own thread. */

struct range {
    _Alignas(64) _Atomic int64_t next;
    int64_t last;
};

struct task {
    kernel_t kernel;
    const int64_t *packed;
    int64_t threads, step;
    struct range ranges[MOST];
};

struct worker {
    /* NULL: idle; a task: offered; BUSY: at work */
    _Alignas(64) _Atomic(struct task *) task;
    _Atomic int sleeps, leaves;
    int64_t number;
    lock_t lock;
    condition_t wakes;
    thread_t thread;
};

#define BUSY ((struct task *)1)

static struct worker workers[MOST];
static int64_t started = 1; /* with the thread that launches, which is number 0 */
static lock_t pool = LOCK_READY;

static void work_on(struct task *task, int64_t mine)
{
    for (int64_t i = 0; i < task->threads; i++) {
        struct range *range = &task->ranges[(mine + i) % task->threads];
        for (;;) {
            int64_t first = atomic_fetch_add_explicit(&range->next, task->step, memory_order_relaxed);
            if (first >= range->last)
                break;
            int64_t last = first + task->step;
            task->kernel(first, last < range->last ? last : range->last, mine, task->packed);
        }
    }
}

/* Wait for a task; NULL ends the thread. */
static struct task *next_task(struct worker *me)
{
    struct task *task;
    for (int i = 0; i < TRIES; i++) {
        if ((task = atomic_load(&me->task)) != NULL)
            return task;
        if (atomic_load(&me->leaves))
            return NULL;
        pause();
    }
    lock(&me->lock);
    atomic_store(&me->sleeps, 1);
    while ((task = atomic_load(&me->task)) == NULL && !atomic_load(&me->leaves))
        wait_for(&me->wakes, &me->lock);
    atomic_store(&me->sleeps, 0);
    unlock(&me->lock);
    return task;
}

static void rouse(struct worker *worker)
{
    if (atomic_load(&worker->sleeps)) {
        lock(&worker->lock);
        wake(&worker->wakes);
        unlock(&worker->lock);
    }
}

#ifdef _WIN32
static DWORD WINAPI be_worker(void *argument)
#else
static void *be_worker(void *argument)
#endif
{
    struct worker *me = argument;
    struct task *task;
    while ((task = next_task(me)) != NULL) {
        if (atomic_compare_exchange_strong(&me->task, &task, BUSY)) {
            work_on(task, me->number);
            atomic_store(&me->task, NULL);
        }
    }
    return 0;
}

#ifndef _WIN32
/* No thread is there while the process forks: each process starts its own. */
static void before_fork(void)
{
    lock(&pool);
    for (int64_t i = 1; i < started; i++) {
        atomic_store(&workers[i].leaves, 1);
        rouse(&workers[i]);
        pthread_join(workers[i].thread, NULL);
    }
    started = 1;
}

static void after_fork(void)
{
    unlock(&pool);
}

/* When the library is loaded, once, so that no fork can meet a launch without having been told. */
__attribute__((constructor)) static void prepare(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}
#endif

/* Start threads until there are as many as wanted; returns how many there are. */
static int64_t start_workers(int64_t wanted)
{
#ifndef _WIN32
    sigset_t others, before; /* signals are for Python's own threads, but for a worker's own faults */
    sigfillset(&others);
    sigdelset(&others, SIGSEGV);
    sigdelset(&others, SIGBUS);
    sigdelset(&others, SIGILL);
    sigdelset(&others, SIGFPE);
    pthread_sigmask(SIG_BLOCK, &others, &before);
#endif
    while (started < wanted) {
        struct worker *worker = &workers[started];
        memset(worker, 0, sizeof *worker);
        worker->number = started;
#ifdef _WIN32
        InitializeSRWLock(&worker->lock);
        InitializeConditionVariable(&worker->wakes);
        worker->thread = CreateThread(NULL, 0, be_worker, worker, 0, NULL);
        if (worker->thread == NULL)
            break;
#else
        pthread_mutex_init(&worker->lock, NULL);
        pthread_cond_init(&worker->wakes, NULL);
        if (pthread_create(&worker->thread, NULL, be_worker, worker) != 0)
            break;
#endif
        started++;
    }
#ifndef _WIN32
    pthread_sigmask(SIG_SETMASK, &before, NULL);
#endif
    return started < wanted ? started : wanted;
}

/* Take an offer back, or wait until the worker has done what it began. */
static void wait_until_done(struct worker *worker, struct task *task)
{
    struct task *offered = task;
    if (atomic_compare_exchange_strong(&worker->task, &offered, NULL))
        return;
    for (int i = 0; atomic_load(&worker->task) != NULL; i++) {
        if (i < TRIES)
            pause();
        else if (i < TRIES + PATIENCE)
            yield_turn();
        else
            doze();
    }
}

static void run(kernel_t kernel, int64_t jobs, int64_t threads, const int64_t *packed)
{
    if (threads > jobs)
        threads = jobs;
    if (threads > MOST)
        threads = MOST;
    if (threads <= 1 || !try_lock(&pool)) {
        kernel(0, jobs, 0, packed);
        return;
    }
    if (threads > started)
        threads = start_workers(threads);
    struct task task;
    task.kernel = kernel;
    task.packed = packed;
    task.threads = threads;
    task.step = jobs / (32 * threads) + 1;
    for (int64_t i = 0; i < threads; i++) {
        atomic_init(&task.ranges[i].next, i * jobs / threads);
        task.ranges[i].last = (i + 1) * jobs / threads;
    }
    for (int64_t i = 1; i < threads; i++) {
        atomic_store(&workers[i].task, &task);
        rouse(&workers[i]);
    }
    work_on(&task, 0);
    for (int64_t i = 1; i < threads; i++)
        wait_until_done(&workers[i], &task);
    unlock(&pool);
}

/* -- Python ------------------------------------------------------------------------------------ */

static struct {
    intptr_t (*size_of_tuple)(void *);
    void *(*item_of_tuple)(void *, intptr_t);
    long long (*whole)(void *);
    double (*real)(void *);
    void *(*error)(void);
    void *(*release)(void);
    void (*acquire)(void *);
} python;
static int64_t head; /* bytes of an object that belong to Python; NumPy's data pointer comes next */

EXPORT void xpcnn_connect(void **functions, int64_t head_of_objects)
{
    memcpy(&python, functions, sizeof python);
    head = head_of_objects;
}

/* Pack arguments, of which `kinds` has a letter each: i whole, f real, and p an array's numbers.
   Returns 0, or -1 with Python's error set, also where there are too many or too few. */
EXPORT int xpcnn_pack(void *arguments, const char *kinds, int64_t *packed)
{
    intptr_t size = python.size_of_tuple(arguments);
    if (size != (intptr_t)strlen(kinds)) {
        python.item_of_tuple(arguments, size); /* sets an IndexError */
        return -1;
    }
    for (int64_t i = 0; kinds[i]; i++) {
        void *item = python.item_of_tuple(arguments, i);
        if (item == NULL)
            return -1;
        if (kinds[i] == 'p') {
            memcpy(&packed[i], (char *)item + head, sizeof packed[i]);
        } else if (kinds[i] == 'f') {
            double value = python.real(item);
            if (value == -1.0 && python.error())
                return -1;
            memcpy(&packed[i], &value, sizeof value);
        } else if ((packed[i] = python.whole(item)) == -1 && python.error()) {
            return -1;
        }
    }
    return 0;
}

/* Run a kernel for Python; its lock is free meanwhile. `kinds` has at most MOST_ARGUMENTS letters. */
EXPORT int xpcnn_launch(void *arguments, const char *kinds, kernel_t kernel, int64_t jobs,
                        int64_t threads)
{
    int64_t packed[MOST_ARGUMENTS];
    if (xpcnn_pack(arguments, kinds, packed) != 0)
        return -1;
    void *state = python.release();
    run(kernel, jobs, threads, packed);
    python.acquire(state);
    return 0;
}

struct launch {
    kernel_t kernel;
    int64_t jobs, threads;
    const int64_t *packed;
};

/* Run kernels one after the other, with nothing of Python in between. */
EXPORT void xpcnn_repeat(const struct launch *launches, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        run(launches[i].kernel, launches[i].jobs, launches[i].threads, launches[i].packed);
}

/* Whether this processor, and its system, have the instructions of a level of x86-64 (3 or 4). */
EXPORT int xpcnn_supports(int level)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    unsigned first = 1u << 12 | 1u << 22 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
    if ((c & first) != first) /* FMA, MOVBE, POPCNT, OSXSAVE, AVX, F16C */
        return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    unsigned second = 1u << 3 | 1u << 5 | 1u << 8; /* BMI, AVX2, BMI2 */
    if ((b & second) != second)
        return 0;
    unsigned third = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* AVX512 F DQ CD BW VL */
    int wide = (low & 0xe6) == 0xe6 && (b & third) == third;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & 1u << 5)) /* LZCNT */
        return 0;
    return level <= 3 || wide;
#else
    (void)level;
    return 0;
#endif
}
