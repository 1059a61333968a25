// Max and average pooling of images whose memory is (outer, size[0], size[1], size[2], inner):
// channels-first has every channel of every image in `outer`, channels-last has the channels in
// `inner`. Backward gathers: each element collects from the windows that saw it, tap by tap in the
// order of the forward. So nothing is added by several threads, and repeated runs are alike.
#include "common.cuh"

// A place in an array (outer, sizes, inner).
struct Place {
    Index outer, p0, p1, p2, lane;
};

DEVICE Place place_of(Index i, const Int* sizes, Index inner) {
    Index n0 = sizes[0], n1 = sizes[1], n2 = sizes[2];
    Place at;
    at.lane = i % inner;
    i /= inner;
    at.p2 = i % n2;
    i /= n2;
    at.p1 = i % n1;
    i /= n1;
    at.p0 = i % n0;
    at.outer = i / n0;
    return at;
}

// The winner is the number of a tap, the first one where several are equal, and the last NaN where
// there is one, as in PyTorch.
KERNEL max_pool_forward(
    const REAL* x, REAL* y, unsigned char* winner, Window w, Int inner, Int count
) {
    Index n0 = w.size[0], n1 = w.size[1], n2 = w.size[2];
    Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2];
    Index d0 = w.dilation[0], d1 = w.dilation[1], d2 = w.dilation[2];
    FOR_EACH(i, count) {
        Place at = place_of(i, w.out, inner);
        Index s0 = start_of(w, 0, at.p0);
        Index s1 = start_of(w, 1, at.p1);
        Index s2 = start_of(w, 2, at.p2);
        Index a0 = first_tap(w, 0, s0), a1 = first_tap(w, 1, s1), a2 = first_tap(w, 2, s2);
        MATH best = -(MATH)POSITIVE_INFINITY;
        Index number = (a0 * k1 + a1) * k2 + a2;
        for (Index t0 = a0; t0 < k0 && s0 + t0 * d0 < n0; t0++)
            for (Index t1 = a1; t1 < k1 && s1 + t1 * d1 < n1; t1++)
                for (Index t2 = a2; t2 < k2 && s2 + t2 * d2 < n2; t2++) {
                    Index line = (at.outer * n0 + s0 + t0 * d0) * n1 + s1 + t1 * d1;
                    MATH value = x[(line * n2 + s2 + t2 * d2) * (Index)inner + at.lane];
                    if (value > best || value != value) {  // nothing is larger than NaN
                        best = value;
                        number = (t0 * k1 + t1) * k2 + t2;
                    }
                }
        y[i] = (REAL)best;
        winner[i] = (unsigned char)number;
    }
}

KERNEL max_pool_backward(
    const REAL* dy, const unsigned char* winner, REAL* dx, Window w, Int inner, Int count
) {
    Index m0 = w.out[0], m1 = w.out[1], m2 = w.out[2];
    Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2];
    FOR_EACH(i, count) {
        Place at = place_of(i, w.size, inner);
        MATH total = 0;
        for (Index t0 = 0; t0 < k0; t0++) {
            Index q0 = window_of(w, 0, at.p0, t0);
            if (q0 < 0) continue;
            for (Index t1 = 0; t1 < k1; t1++) {
                Index q1 = window_of(w, 1, at.p1, t1);
                if (q1 < 0) continue;
                for (Index t2 = 0; t2 < k2; t2++) {
                    Index q2 = window_of(w, 2, at.p2, t2);
                    if (q2 < 0) continue;
                    Index line = (at.outer * m0 + q0) * m1 + q1;
                    Index from = (line * m2 + q2) * (Index)inner + at.lane;
                    if (winner[from] == (t0 * k1 + t1) * k2 + t2) total += (MATH)dy[from];
                }
            }
        }
        dx[i] = (REAL)total;
    }
}

// shares: by what a sum is multiplied, one number for all windows or one for each position.
KERNEL avg_pool_forward(
    const REAL* x, REAL* y, const MATH* shares, Int all_alike, Window w, Int inner, Int count
) {
    Index n0 = w.size[0], n1 = w.size[1], n2 = w.size[2];
    Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2];
    Index d0 = w.dilation[0], d1 = w.dilation[1], d2 = w.dilation[2];
    FOR_EACH(i, count) {
        Place at = place_of(i, w.out, inner);
        Index s0 = start_of(w, 0, at.p0);
        Index s1 = start_of(w, 1, at.p1);
        Index s2 = start_of(w, 2, at.p2);
        Index a0 = first_tap(w, 0, s0), a1 = first_tap(w, 1, s1), a2 = first_tap(w, 2, s2);
        MATH total = 0;
        for (Index t0 = a0; t0 < k0 && s0 + t0 * d0 < n0; t0++)
            for (Index t1 = a1; t1 < k1 && s1 + t1 * d1 < n1; t1++)
                for (Index t2 = a2; t2 < k2 && s2 + t2 * d2 < n2; t2++) {
                    Index line = (at.outer * n0 + s0 + t0 * d0) * n1 + s1 + t1 * d1;
                    total += (MATH)x[(line * n2 + s2 + t2 * d2) * (Index)inner + at.lane];
                }
        Index position = (at.p0 * (Index)w.out[1] + at.p1) * (Index)w.out[2] + at.p2;
        y[i] = (REAL)(total * shares[all_alike ? 0 : position]);
    }
}

KERNEL avg_pool_backward(
    const REAL* dy, const MATH* shares, Int all_alike, REAL* dx, Window w, Int inner, Int count
) {
    Index m0 = w.out[0], m1 = w.out[1], m2 = w.out[2];
    Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2];
    FOR_EACH(i, count) {
        Place at = place_of(i, w.size, inner);
        MATH total = 0;
        for (Index t0 = 0; t0 < k0; t0++) {
            Index q0 = window_of(w, 0, at.p0, t0);
            if (q0 < 0) continue;
            for (Index t1 = 0; t1 < k1; t1++) {
                Index q1 = window_of(w, 1, at.p1, t1);
                if (q1 < 0) continue;
                for (Index t2 = 0; t2 < k2; t2++) {
                    Index q2 = window_of(w, 2, at.p2, t2);
                    if (q2 < 0) continue;
                    Index position = (q0 * m1 + q1) * m2 + q2;
                    Index from = (at.outer * m0 * m1 * m2 + position) * (Index)inner + at.lane;
                    total += (MATH)dy[from] * shares[all_alike ? 0 : position];
                }
            }
        }
        dx[i] = (REAL)total;
    }
}

// Average each of `rows` rows of `length` numbers; LANES threads share a row.
KERNEL mean_of_rows(const REAL* x, REAL* y, Int rows, Int length) {
    SHARED MATH s[THREADS];
    const Index first = BLOCK * (THREADS / LANES);
    EACH_THREAD {
        Index row = first + THREAD / LANES;
        MATH total = 0;
        if (row < (Index)rows)
            for (Index k = THREAD % LANES; k < (Index)length; k += LANES)
                total += (MATH)x[row * (Index)length + k];
        s[THREAD] = total;
    }
    add_runs(s);
    EACH_THREAD {
        Index row = first + THREAD / LANES;
        if (THREAD % LANES == 0 && row < (Index)rows) y[row] = (REAL)(s[THREAD] / (MATH)length);
    }
}

// Average over the middle axis of x (outer, length, inner).
KERNEL mean_of_columns(const REAL* x, REAL* y, Int length, Int inner, Int count) {
    FOR_EACH(i, count) {
        Index outer = i / (Index)inner, lane = i % (Index)inner;
        MATH total = 0;
        for (Index k = 0; k < (Index)length; k++)
            total += (MATH)x[(outer * (Index)length + k) * (Index)inner + lane];
        y[i] = (REAL)(total / (MATH)length);
    }
}
