/* Launches from several threads at once, on the pool of runtime.c, with forks in between: every job
   has to be done exactly once. Compiled with a sanitizer by test_native_pool.py.

   Arguments: Python threads, launches of each, forks. */

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include RUNTIME

#define JOBS 700

struct launcher {
    pthread_t thread;
    unsigned seed;
    int launches, failed;
};

static unsigned draw(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Plain additions: two workers with the same job would be a race that the sanitizer sees. */
static void count(int64_t first, int64_t last, int64_t worker, const int64_t *packed)
{
    int *done = (int *)(intptr_t)packed[0], *scratch = (int *)(intptr_t)packed[1];
    for (int64_t i = first; i < last; i++) {
        done[i]++;
        scratch[worker]++;
    }
}

static int launch(unsigned *seed)
{
    int done[JOBS + 1] = {0}, scratch[MOST] = {0}, total = 0, failed = 0;
    int64_t jobs = draw(seed) % (draw(seed) % 2 ? 9 : JOBS), threads = draw(seed) % 7;
    if (draw(seed) % 64 == 0)
        threads = 20;
    int64_t packed[2] = {(int64_t)(intptr_t)done, (int64_t)(intptr_t)scratch};
    run(count, jobs, threads, packed);
    for (int64_t i = 0; i <= JOBS; i++)
        failed |= done[i] != (i < jobs);
    for (int64_t i = 0; i < MOST; i++)
        total += scratch[i];
    if (draw(seed) % 50 == 0)
        usleep(draw(seed) % 3000); /* until workers sleep */
    return failed || total != jobs;
}

static void *be_launcher(void *argument)
{
    struct launcher *me = argument;
    for (int i = 0; i < me->launches; i++)
        me->failed |= launch(&me->seed);
    return NULL;
}

int main(int number, char **given)
{
    if (number != 4)
        return 2;
    int threads = atoi(given[1]), launches = atoi(given[2]), forks = atoi(given[3]), failed = 0;
    struct launcher launchers[16];
    for (int i = 0; i < threads; i++) {
        launchers[i] = (struct launcher){.seed = (unsigned)i, .launches = launches};
        if (pthread_create(&launchers[i].thread, NULL, be_launcher, &launchers[i]) != 0)
            return 3;
    }
    unsigned seed = 99;
    for (int i = 0; i < forks; i++) {
#ifdef NO_FORK /* threads of a forked process are more than the sanitizer can take */
        before_fork();
        after_fork();
        failed |= launch(&seed);
        continue;
#endif
        pid_t child = fork();
        if (child == 0) {
            alarm(30); /* ends a child that waits for somebody who is not there */
            failed |= started != 1 || !try_lock(&pool); /* no threads, and nobody has the pool */
            unlock(&pool);
            for (int k = 0; k < 20; k++)
                failed |= launch(&seed);
            pid_t grandchild = fork();
            if (grandchild == 0)
                _exit(launch(&seed));
            int status;
            failed |= waitpid(grandchild, &status, 0) != grandchild || status != 0;
            _exit(failed);
        }
        int status;
        failed |= child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(launchers[i].thread, NULL);
        failed |= launchers[i].failed;
    }
    return failed;
}
