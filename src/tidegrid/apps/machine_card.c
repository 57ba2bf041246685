/* Probes of a machine card, one a run: peak, clock, latency, triad. Built by machine_card.py once for each vector width:
 *   cc -O2 -ffp-contract=fast [-m...] -DBYTES=64 -pthread machine_card.c
 * Every probe prints one number a repetition. Time is the CPU time of the thread that works, so that what else runs on the
 * machine stretches the probe and not its result. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef BYTES
#define BYTES 16
#endif
#if BYTES /* of a vector; 0: one number at a time */
#define OF(REAL) REAL __attribute__((vector_size(BYTES)))
#define WIDTH(REAL) (BYTES / sizeof(REAL))
#define FIRST(v) (v)[0]
#else
#define OF(REAL) REAL
#define WIDTH(REAL) 1
#define FIRST(v) (v)
#endif
#define KEEP(x) __asm__ volatile("" : "+m"(x) : : "memory")

static double thread_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* peak ------------------------------------------------------------------------------------------------------------------
 * With FMA: CHAINS independent multiply-adds. Without: as many multiplications and additions, which the core may overlap. */
#if defined(__FMA__) || defined(__aarch64__) || defined(__AVX512F__)
#define FUSED 1
#define CHAINS 12
#else
#define FUSED 0
#define CHAINS 14
#endif
#if defined(__x86_64__) || defined(__i386__)
#define REGISTER "+x"
#elif defined(__aarch64__)
#define REGISTER "+w"
#else
#define REGISTER "+m"
#endif

#define PEAK(NAME, REAL, VECTOR)                                                                          \
    typedef OF(REAL) VECTOR;                                                                              \
    static double NAME(double seconds) {                                                                  \
        VECTOR a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, m, s;                          \
        volatile REAL start = (REAL)1, keep;                                                              \
        REAL factor = (REAL)0.999999 * start, step = (REAL)1e-6 * start;                                  \
        m = (VECTOR){0} + factor, s = (VECTOR){0} + step;                                                 \
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = a10 = a11 = a12 = a13 = s;                      \
        double flops = 0, began = thread_s(), spent = 0;                                                  \
        while (spent < seconds) {                                                                         \
            for (int i = 0; i < 20000; i++) {                                                             \
                STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9)           \
                STEP(10) STEP(11) MORE                                                                    \
            }                                                                                             \
            flops += 20000.0 * CHAINS * (FUSED ? 2 : 1) * WIDTH(REAL);                                     \
            spent = thread_s() - began;                                                                   \
        }                                                                                                 \
        a0 += a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11 + a12 + a13;                         \
        keep = FIRST(a0);                                                                                 \
        (void)keep;                                                                                       \
        return flops / spent / 1e9;                                                                       \
    }
#define HOLD(N) __asm__ volatile("" : REGISTER(a##N));
#if FUSED
#define STEP(N) a##N = a##N * m + s; HOLD(N)
#define MORE
#else
#define STEP(N) if (N % 2) { a##N = a##N + s; } else { a##N = a##N * m; } HOLD(N)
#define MORE STEP(12) STEP(13)
#endif
PEAK(peak_dp, double, vector_dp)
PEAK(peak_sp, float, vector_sp)

/* clock: additions that wait for each other, one a cycle */
static double clock_ghz(double seconds) {
    uint64_t x = 1, y = 3;
    double adds = 0, began = thread_s(), spent = 0;
    __asm__ volatile("" : "+r"(y));
    while (spent < seconds) {
        for (int i = 0; i < 20000; i++) {
#define ADD x += y; __asm__ volatile("" : "+r"(x));
#define TEN ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
            TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
        }
        adds += 100 * 20000.0;
        spent = thread_s() - began;
    }
    return adds / spent / 1e9;
}

/* latency: a walk through all cache lines of `kib` in an order that no prefetcher guesses */
static double latency_ns(size_t kib, double seconds) {
    size_t lines = kib * 1024 / 64, *order = malloc(lines * sizeof *order);
    char *memory = NULL;
    if (!order || posix_memalign((void **)&memory, 4096, lines * 64)) return -1;
    uint64_t random = 88172645463325252ull;
    for (size_t i = 0; i < lines; i++) order[i] = i;
    for (size_t i = lines - 1; i > 0; i--) { /* one cycle through all (Sattolo) */
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t j = random % i, t = order[i];
        order[i] = order[j], order[j] = t;
    }
    for (size_t i = 0; i < lines; i++) *(void **)(memory + 64 * i) = memory + 64 * order[i];
    free(order);
    void **at = (void **)memory;
    for (size_t i = 0; i < (lines < 1000000 ? lines : 1000000); i++) at = *at;
    double loads = 0, began = thread_s(), spent = 0;
    while (spent < seconds) {
        for (int i = 0; i < 20000; i++) { at = *at; }
        __asm__ volatile("" : "+r"(at));
        loads += 20000;
        spent = thread_s() - began;
    }
    free(memory);
    return spent / loads * 1e9;
}

/* triad: a = b + s c, by `count` threads, each on arrays and a core of its own; 24 bytes an element, as STREAM counts */
struct share { size_t elements; double seconds, gb_s; int cpu; pthread_barrier_t *together; };

static void *triad(void *given) {
    struct share *w = given;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(w->cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one); /* where that is not allowed, the kernel chooses */
    size_t n = w->elements;
    double *a = malloc(8 * n), *b = malloc(8 * n), *c = malloc(8 * n);
    if (a && b && c) for (size_t i = 0; i < n; i++) a[i] = 0, b[i] = 1, c[i] = 2;
    pthread_barrier_wait(w->together);
    if (a && b && c) {
        double bytes = 0, began = thread_s(), spent = 0;
        while (spent < w->seconds) {
            for (size_t i = 0; i < n; i++) a[i] = b[i] + 3.0 * c[i];
            KEEP(*a);
            bytes += 24.0 * n;
            spent = thread_s() - began;
        }
        w->gb_s = bytes / spent / 1e9;
    }
    free(a), free(b), free(c);
    return NULL;
}

static double triad_gb_s(int count, size_t kib, double seconds) {
    cpu_set_t may;
    if (sched_getaffinity(0, sizeof may, &may)) return -1;
    struct share *shares = calloc(count, sizeof *shares);
    pthread_t *threads = calloc(count, sizeof *threads);
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, count);
    double sum = 0;
    int cpu = -1;
    for (int i = 0; i < count; i++) {
        do cpu = (cpu + 1) % CPU_SETSIZE; while (!CPU_ISSET(cpu, &may));
        shares[i] = (struct share){kib * 1024 / 24 / count, seconds, 0, cpu, &together};
        if (pthread_create(&threads[i], NULL, triad, &shares[i])) return -1;
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum = shares[i].gb_s > 0 && sum >= 0 ? sum + shares[i].gb_s : -1;
    }
    free(shares), free(threads);
    return sum;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *probe = argv[1];
    int repeats = atoi(argv[2]);
    double seconds = atof(argv[3]);
    size_t kib = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    int count = argc > 5 ? atoi(argv[5]) : 1;
    for (int i = 0; i < repeats; i++) {
        double found = -1;
        if (!strcmp(probe, "peak_dp")) found = peak_dp(seconds);
        else if (!strcmp(probe, "peak_sp")) found = peak_sp(seconds);
        else if (!strcmp(probe, "clock")) found = clock_ghz(seconds);
        else if (!strcmp(probe, "latency")) found = latency_ns(kib, seconds);
        else if (!strcmp(probe, "triad")) found = triad_gb_s(count, kib, seconds);
        else return 2;
        if (found < 0) return 1;
        printf("%.9g\n", found);
        fflush(stdout);
    }
    return 0;
}
