// What all kernels stand on. The same bodies compile as CUDA, with NVRTC or nvcc, and as plain C++,
// where the threads of a block take turns; the tests compare the latter with the generic kernels.
//
// Set by whoever compiles:
//   REAL     what arrays hold: float, double, Half or Brain (bfloat16)
//   MATH     what is computed with: double for double, else float
//   INDEX    int where no array is large, else Int (64 bits, whose division takes much longer)
//   THREADS  threads of a block, a power of two
//   LANES    threads that read side by side in memory, a power of two, at most THREADS
#pragma once

typedef long long Int;
typedef INDEX Index;

#ifdef __CUDACC__

#define KERNEL extern "C" __global__ void
#define DEVICE __device__ inline
#define SHARED __shared__
#define SYNC __syncthreads()
// What follows is done by every thread of the block; values that outlive it are in shared memory.
#define EACH_THREAD
#define POSITIVE_INFINITY __longlong_as_double(0x7ff0000000000000LL)

#else

#include <cmath>
#include <cstring>

#define KERNEL extern "C" void
#define DEVICE static inline
#define SHARED static

struct Dimension {
    int x;
};
static Dimension blockIdx, gridDim;

#ifdef AT_ONCE

// Real threads, for ThreadSanitizer to watch.
#include <barrier>
static std::barrier<> all_threads(THREADS);
static thread_local Dimension threadIdx;
#define SYNC all_threads.arrive_and_wait()
#define EACH_THREAD

#else

// One thread after the other, from the last to the first if `backwards` is set: the results must
// be the same.
static Dimension threadIdx;
static bool backwards;
#define SYNC
#define EACH_THREAD                                                                               \
    for (int turn = 0; threadIdx.x = backwards ? THREADS - 1 - turn : turn, turn < THREADS; turn++)

extern "C" void set_block(int block, int blocks, int from_the_end) {
    blockIdx.x = block;
    gridDim.x = blocks;
    backwards = from_the_end != 0;
}

#endif

#define POSITIVE_INFINITY __builtin_inf()

using std::exp;
using std::log;
using std::sqrt;

#endif

#define THREAD ((int)threadIdx.x)
#define BLOCK ((Index)blockIdx.x)

// Visit the numbers below `count`, neighbours by neighbouring threads, however many blocks run.
#define FOR_EACH(i, count)                                                                        \
    EACH_THREAD for (Index i = BLOCK * THREADS + THREAD; i < (Index)(count);                      \
                     i += (Index)gridDim.x * THREADS)

// Two bytes of memory that compute as a float. NVRTC has no <cuda_fp16.h> of its own.
struct Half {
    unsigned short bits;

    Half() = default;
#ifdef __CUDACC__
    __device__ Half(float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value)); }
    __device__ operator float() const {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
#elif defined(__FLT16_MANT_DIG__)
    Half(float value) {
        _Float16 rounded = (_Float16)value;
        memcpy(&bits, &rounded, 2);
    }
    operator float() const {
        _Float16 value;
        memcpy(&value, &bits, 2);
        return (float)value;
    }
#endif
};

// bfloat16: the upper half of a float, rounded to the nearest, to the even one between two.
struct Brain {
    unsigned short bits;

    Brain() = default;
#ifdef __CUDACC__
    __device__ static unsigned int bits_of(float value) { return __float_as_uint(value); }
    __device__ static float from_bits(unsigned int whole) { return __uint_as_float(whole); }
    __device__
#else
    static unsigned int bits_of(float value) {
        unsigned int whole;
        memcpy(&whole, &value, 4);
        return whole;
    }
    static float from_bits(unsigned int whole) {
        float value;
        memcpy(&value, &whole, 4);
        return value;
    }
#endif
    Brain(float value) {
        unsigned int whole = bits_of(value);
        bool is_nan = value != value;  // rounding could make it infinite
        whole += is_nan ? 0x10000 : 0x7fff + (whole >> 16 & 1);
        bits = is_nan ? 0x7fc0 : whole >> 16;
    }
#ifdef __CUDACC__
    __device__
#endif
    operator float() const { return from_bits((unsigned int)bits << 16); }
};

// A sliding window over three dimensions; of one or two, the first have size 1. Passed by value.
struct Window {
    Int size[3], out[3], kernel[3], stride[3], dilation[3], before[3];
};

// Tap t of window q lies at stride * q + dilation * t - before, along each axis.

// Where tap 0 of window q lies.
DEVICE Index start_of(const Window& w, int axis, Index q) {
    return q * (Index)w.stride[axis] - (Index)w.before[axis];
}

// The first tap of a window that starts at `start` to lie behind the front padding.
DEVICE Index first_tap(const Window& w, int axis, Index start) {
    Index dilation = (Index)w.dilation[axis];
    return start < 0 ? (dilation - 1 - start) / dilation : 0;
}

// Which window sees position p by tap t; negative if there is none.
DEVICE Index window_of(const Window& w, int axis, Index p, Index t) {
    Index offset = p + (Index)w.before[axis] - t * (Index)w.dilation[axis];
    Index q = offset / (Index)w.stride[axis];
    return q < (Index)w.out[axis] && q * (Index)w.stride[axis] == offset ? q : -1;
}

// max(x, 0), NaN going through.
DEVICE MATH relu(MATH x) {
    return x < 0 ? (MATH)0 : x;
}

// Add up the rows of s, THREADS / lanes of them, into the first, in an order that is always the
// same. All threads take part; s is complete in all of them afterwards.
template <typename T>
DEVICE void add_rows(T* s, int lanes) {
    SYNC;
    for (int half = THREADS / 2; half >= lanes; half /= 2) {
        EACH_THREAD {
            if (THREAD < half) s[THREAD] += s[THREAD + half];
        }
        SYNC;
    }
}

// Add up each run of LANES numbers of s into its first.
DEVICE void add_runs(MATH* s) {
    SYNC;
    for (int half = LANES / 2; half > 0; half /= 2) {
        EACH_THREAD {
            if (THREAD % LANES < half) s[THREAD] += s[THREAD + half];
        }
        SYNC;
    }
}
