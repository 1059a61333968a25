// Softmax and cross-entropy with class labels, and their gradient.
#include "common.cuh"

// For each row of x (rows, classes): terms = log(sum(exp(x))) - x[label], and the gradient of the
// term, softmax(x) minus one at the label; both zero where the label is `ignored` or no class. The
// element of `counts` is 1, or 0 there. LANES threads share a row.
KERNEL cross_entropy(
    const REAL* x, const Int* labels, REAL* terms, REAL* slopes, MATH* counts, Int rows_,
    Int classes_, Int ignored
) {
    SHARED MATH s[THREADS];
    SHARED MATH highest[THREADS];
    const Index rows = (Index)rows_, classes = (Index)classes_;
    const Index first = BLOCK * (THREADS / LANES);
    EACH_THREAD {
        Index row = first + THREAD / LANES;
        MATH most = -(MATH)POSITIVE_INFINITY;
        if (row < rows)
            for (Index c = THREAD % LANES; c < classes; c += LANES) {
                // NaN is not larger than anything, but spoils the sum below.
                MATH value = x[row * classes + c];
                if (value > most) most = value;
            }
        highest[THREAD] = most;
    }
    SYNC;
    for (int half = LANES / 2; half > 0; half /= 2) {
        EACH_THREAD {
            if (THREAD % LANES < half && highest[THREAD + half] > highest[THREAD])
                highest[THREAD] = highest[THREAD + half];
        }
        SYNC;
    }
    EACH_THREAD {
        Index row = first + THREAD / LANES;
        MATH most = highest[THREAD / LANES * LANES], others = 0;
        // All but the label's: softmax minus one is minus their share, and a difference would lose
        // it where the label is sure.
        if (row < rows)
            for (Index c = THREAD % LANES; c < classes; c += LANES)
                if (c != labels[row]) others += exp((MATH)x[row * classes + c] - most);
        s[THREAD] = others;
    }
    add_runs(s);
    EACH_THREAD {
        Index row = first + THREAD / LANES;
        if (row < rows) {
            MATH most = highest[THREAD / LANES * LANES], others = s[THREAD / LANES * LANES];
            const Int label = labels[row];
            const bool valid = label != ignored && label >= 0 && label < classes_;
            const MATH below = valid ? (MATH)x[row * classes + (Index)label] - most : (MATH)0;
            const MATH total = others + exp(below);
            for (Index c = THREAD % LANES; c < classes; c += LANES) {
                MATH slope = exp((MATH)x[row * classes + c] - most) / total;
                if (c == label) slope = -others / total;
                slopes[row * classes + c] = (REAL)(valid ? slope : (MATH)0);
            }
            if (THREAD % LANES == 0) {
                MATH term = 0;
                if (valid) term = below == 0 ? log1p(others) : log(total) - below;
                terms[row] = (REAL)term;
                counts[row] = valid ? (MATH)1 : (MATH)0;
            }
        }
    }
}
