// Updates of all parameters in one launch. The arrays come as a table of addresses, one row for
// each kind of array and one column for each parameter. A job is (parameter, first element, size of
// the parameter); a block does one, up to `piece` elements.
#include "common.cuh"

DEVICE REAL* array(const Int* table, Int parameters, int row, Int parameter) {
    return (REAL*)table[row * parameters + parameter];
}

// Rows: parameters, gradients, means, squares, and the new parameters, means, squares. A mean or
// square that is not there (address 0) counts as zeros. What changes from update to update may be
// given in memory, as `numbers`: size, eps, kept.
KERNEL adam(
    const Int* table, Int parameters, const Int* jobs, Int piece, MATH keep1, MATH take1,
    MATH keep2, MATH take2, MATH size, MATH eps, MATH decay, MATH kept, const MATH* numbers
) {
    if (numbers) {
        size = numbers[0];
        eps = numbers[1];
        kept = numbers[2];
    }
    const Int i = jobs[3 * BLOCK], first = jobs[3 * BLOCK + 1], count = jobs[3 * BLOCK + 2];
    const Int last = first + piece < count ? first + piece : count;
    const REAL* p = array(table, parameters, 0, i);
    const REAL* g = array(table, parameters, 1, i);
    const REAL* m = array(table, parameters, 2, i);
    const REAL* v = array(table, parameters, 3, i);
    REAL* new_p = array(table, parameters, 4, i);
    REAL* new_m = array(table, parameters, 5, i);
    REAL* new_v = array(table, parameters, 6, i);
    EACH_THREAD for (Int k = first + THREAD; k < last; k += THREADS) {
        MATH old = p[k];
        MATH gradient = (MATH)g[k] + decay * old;
        MATH mean = take1 * gradient, square = take2 * (gradient * gradient);
        if (m) mean += keep1 * (MATH)m[k];
        if (v) square += keep2 * (MATH)v[k];
        new_m[k] = (REAL)mean;
        new_v[k] = (REAL)square;
        new_p[k] = (REAL)(kept * old - size * mean / (sqrt(square) + eps));
    }
}

// Rows: parameters, gradients, buffers, and the new parameters, buffers. An old buffer that is not
// there is filled by the gradient; without a new one (address 0) there is no momentum. The learning
// rate may be given in memory, as `numbers`.
KERNEL sgd(
    const Int* table, Int parameters, const Int* jobs, Int piece, MATH keep, MATH take,
    Int nesterov, MATH lr, MATH decay, const MATH* numbers
) {
    if (numbers) lr = numbers[0];
    const Int i = jobs[3 * BLOCK], first = jobs[3 * BLOCK + 1], count = jobs[3 * BLOCK + 2];
    const Int last = first + piece < count ? first + piece : count;
    const REAL* p = array(table, parameters, 0, i);
    const REAL* g = array(table, parameters, 1, i);
    const REAL* b = array(table, parameters, 2, i);
    REAL* new_p = array(table, parameters, 3, i);
    REAL* new_b = array(table, parameters, 4, i);
    EACH_THREAD for (Int k = first + THREAD; k < last; k += THREADS) {
        MATH old = p[k];
        MATH gradient = (MATH)g[k] + decay * old;
        if (new_b) {
            MATH buffer = b ? keep * (MATH)b[k] + take * gradient : gradient;
            new_b[k] = (REAL)buffer;
            gradient = nesterov ? gradient + keep * buffer : buffer;
        }
        new_p[k] = (REAL)(old - lr * gradient);
    }
}
