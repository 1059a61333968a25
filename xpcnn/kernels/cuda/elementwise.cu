// Kernels that treat every element alike, in whatever order the memory is.
#include "common.cuh"

KERNEL relu_forward(const REAL* x, REAL* y, Int count) {
    FOR_EACH(i, count) y[i] = (REAL)relu(x[i]);
}

// The gradient where the output y was positive.
KERNEL gate(const REAL* dy, const REAL* y, REAL* dx, Int count) {
    FOR_EACH(i, count) dx[i] = (MATH)y[i] <= 0 ? (REAL)(MATH)0 : dy[i];
}

KERNEL add(const REAL* a, const REAL* b, REAL* y, Int count) {
    FOR_EACH(i, count) y[i] = (REAL)((MATH)a[i] + (MATH)b[i]);
}

KERNEL add_relu(const REAL* a, const REAL* b, REAL* y, Int count) {
    FOR_EACH(i, count) y[i] = (REAL)relu((MATH)a[i] + (MATH)b[i]);
}
