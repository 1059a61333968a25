// Batch normalisation of x in memory as (outer, channels, inner): channels-first has one outer for
// each image and the positions in `inner`, channels-last has inner = 1. A channel has outer * inner
// elements, here called positions. They are cut into pieces of `per`; a block reduces one piece of
// `lanes` channels: one where a channel lies in one run, LANES where channels lie side by side.
#include "common.cuh"

// What gradients pass: all, or those of positive outputs, worked out anew or read from y.
enum Gate { OPEN, RECOMPUTED, FROM_OUTPUT };

struct Shape {
    Index channels, inner, positions;
};

DEVICE Index address(const Shape& shape, Index channel, Index position) {
    Index outer = position / shape.inner;
    return (outer * shape.channels + channel) * shape.inner + position % shape.inner;
}

// Which channel a thread of this block works on, and which positions.
struct Part {
    Index channel, first, last, step;
};

DEVICE Part part_of(const Shape& shape, int lanes, Index per, Index pieces) {
    Index piece = BLOCK % pieces, end = (piece + 1) * per;
    Part part;
    part.channel = BLOCK / pieces * lanes + THREAD % lanes;
    part.first = piece * per + THREAD / lanes;
    part.last = end < shape.positions ? end : shape.positions;
    part.step = THREADS / lanes;
    if (part.channel >= shape.channels) part.last = 0;
    return part;
}

DEVICE Index size_of_piece(const Shape& shape, Index per, Index piece) {
    Index left = shape.positions - piece * per;
    return left < per ? left : per;
}

DEVICE MATH normal(MATH x, MATH mean, MATH variance, MATH eps) {
    return (x - mean) * (1 / sqrt(variance + eps));
}

// Write into partial (2, channels, pieces) the sum of each piece, and the sum of its squared
// distances from its own mean: squares of large numbers are never subtracted from each other. The
// second time the piece is read it comes from the cache.
KERNEL moments(
    const REAL* x, MATH* partial, Int channels, Int inner, Int positions, Int lanes_, Int per_,
    Int pieces_
) {
    SHARED MATH s[THREADS];
    SHARED MATH sums[THREADS];
    const Shape shape = {(Index)channels, (Index)inner, (Index)positions};
    const int lanes = (int)lanes_;
    const Index per = (Index)per_, pieces = (Index)pieces_;
    const Index piece = BLOCK % pieces;
    EACH_THREAD {
        Part part = part_of(shape, lanes, per, pieces);
        MATH total = 0;
        for (Index p = part.first; p < part.last; p += part.step)
            total += (MATH)x[address(shape, part.channel, p)];
        s[THREAD] = total;
    }
    add_rows(s, lanes);
    EACH_THREAD {
        if (THREAD < lanes) sums[THREAD] = s[THREAD];
    }
    SYNC;
    EACH_THREAD {
        Part part = part_of(shape, lanes, per, pieces);
        MATH mean = sums[THREAD % lanes] / (MATH)size_of_piece(shape, per, piece);
        MATH total = 0;
        for (Index p = part.first; p < part.last; p += part.step) {
            MATH away = (MATH)x[address(shape, part.channel, p)] - mean;
            total += away * away;
        }
        s[THREAD] = total;
    }
    add_rows(s, lanes);
    EACH_THREAD {
        Index channel = BLOCK / pieces * lanes + THREAD;
        if (THREAD < lanes && channel < shape.channels) {
            partial[channel * pieces + piece] = sums[THREAD];
            partial[(shape.channels + channel) * pieces + piece] = s[THREAD];
        }
    }
}

// Combine the pieces of a channel, one block for each: squares around their own means, and those
// of the means.
KERNEL combine_moments(
    const MATH* partial, MATH* mean, MATH* variance, Int channels, Int positions, Int per_,
    Int pieces_
) {
    SHARED double s[THREADS];
    SHARED double sum;
    const Shape shape = {(Index)channels, 1, (Index)positions};
    const Index per = (Index)per_, pieces = (Index)pieces_;
    const MATH* sums = partial + BLOCK * pieces;
    const MATH* squares = partial + (shape.channels + BLOCK) * pieces;
    EACH_THREAD {
        double total = 0;
        for (Index p = THREAD; p < pieces; p += THREADS) total += sums[p];
        s[THREAD] = total;
    }
    add_rows(s, 1);
    EACH_THREAD {
        if (THREAD == 0) sum = s[0];
    }
    SYNC;
    EACH_THREAD {
        double total = 0, whole = sum / (double)shape.positions;
        for (Index p = THREAD; p < pieces; p += THREADS) {
            Index size = size_of_piece(shape, per, p);
            double away = (double)(sums[p] / (MATH)size) - whole;
            total += (double)squares[p] + (double)size * away * away;
        }
        s[THREAD] = total;
    }
    add_rows(s, 1);
    EACH_THREAD {
        if (THREAD == 0) {
            mean[BLOCK] = (MATH)(sum / (double)shape.positions);
            variance[BLOCK] = (MATH)(s[0] / (double)shape.positions);
        }
    }
}

// value * gamma + beta, of which either may be missing.
DEVICE MATH scaled(MATH value, Index c, const MATH* gamma, const MATH* beta) {
    if (gamma) value *= gamma[c];
    if (beta) value += beta[c];
    return value;
}

// y = normal(x) * gamma + beta, plus `other` where there is one, then ReLU if `closes`.
KERNEL normalise(
    const REAL* x, const REAL* other, const MATH* mean, const MATH* variance, const MATH* gamma,
    const MATH* beta, MATH eps, REAL* y, Int channels, Int inner, Int closes, Int count
) {
    FOR_EACH(i, count) {
        Index c = i / (Index)inner % (Index)channels;
        MATH value = normal(x[i], mean[c], variance[c], eps);
        value = scaled(value, c, gamma, beta);
        if (other) value += (MATH)other[i];
        y[i] = (REAL)(closes ? relu(value) : value);
    }
}

// What of dy[i] passes the ReLU behind the normalisation.
DEVICE MATH gated(
    int gate, Index i, Index c, const REAL* dy, const REAL* x, const REAL* y, const MATH* mean,
    const MATH* variance, const MATH* gamma, const MATH* beta, MATH eps
) {
    if (gate == OPEN) return dy[i];
    MATH output;
    if (gate == FROM_OUTPUT) {
        output = y[i];
    } else {
        output = scaled(normal(x[i], mean[c], variance[c], eps), c, gamma, beta);
    }
    return output <= 0 ? (MATH)0 : (MATH)dy[i];  // the gate stands open for NaN
}

// Write into partial (2, channels, pieces) the sums of dy and of dy * (x - mean), dy being gated.
KERNEL gradient_sums(
    const REAL* dy, const REAL* x, const REAL* y, const MATH* mean, const MATH* variance,
    const MATH* gamma, const MATH* beta, MATH eps, Int gate, MATH* partial, Int channels,
    Int inner, Int positions, Int lanes_, Int per_, Int pieces_
) {
    SHARED MATH s[THREADS];
    SHARED MATH products[THREADS];
    const Shape shape = {(Index)channels, (Index)inner, (Index)positions};
    const int lanes = (int)lanes_;
    const Index per = (Index)per_, pieces = (Index)pieces_;
    EACH_THREAD {
        Part part = part_of(shape, lanes, per, pieces);
        Index c = part.channel;
        MATH total = 0, with_x = 0;
        for (Index p = part.first; p < part.last; p += part.step) {
            Index i = address(shape, c, p);
            MATH d = gated((int)gate, i, c, dy, x, y, mean, variance, gamma, beta, eps);
            total += d;
            with_x += d * ((MATH)x[i] - mean[c]);
        }
        s[THREAD] = total;
        products[THREAD] = with_x;
    }
    add_rows(s, lanes);
    add_rows(products, lanes);
    EACH_THREAD {
        Index channel = BLOCK / pieces * lanes + THREAD;
        if (THREAD < lanes && channel < shape.channels) {
            partial[channel * pieces + BLOCK % pieces] = s[THREAD];
            partial[(shape.channels + channel) * pieces + BLOCK % pieces] = products[THREAD];
        }
    }
}

// Add up the pieces of a channel, one block for each.
KERNEL combine_sums(
    const MATH* partial, const MATH* variance, MATH eps, MATH* dgamma, MATH* dbeta, Int channels,
    Int pieces_
) {
    SHARED double s[THREADS];
    SHARED double products[THREADS];
    const Index pieces = (Index)pieces_;
    EACH_THREAD {
        double total = 0, with_x = 0;
        for (Index p = THREAD; p < pieces; p += THREADS) {
            total += partial[BLOCK * pieces + p];
            with_x += partial[((Index)channels + BLOCK) * pieces + p];
        }
        s[THREAD] = total;
        products[THREAD] = with_x;
    }
    add_rows(s, 1);
    add_rows(products, 1);
    EACH_THREAD {
        if (THREAD == 0) {
            dbeta[BLOCK] = (MATH)s[0];
            dgamma[BLOCK] = (MATH)products[0] * (1 / sqrt(variance[BLOCK] + eps));
        }
    }
}

// dx = gamma / std * (dy - mean(dy) - normal(x) * mean(dy * normal(x))); the means only where mean
// and variance were those of x. Writes the gated dy too where `passed` is there.
KERNEL input_gradient(
    const REAL* dy, const REAL* x, const REAL* y, const MATH* mean, const MATH* variance,
    const MATH* gamma, const MATH* beta, MATH eps, Int gate, const MATH* dgamma, const MATH* dbeta,
    Int own, REAL* dx, REAL* passed, Int channels, Int inner, Int positions, Int count
) {
    FOR_EACH(i, count) {
        Index c = i / (Index)inner % (Index)channels;
        MATH d = gated((int)gate, i, c, dy, x, y, mean, variance, gamma, beta, eps);
        if (passed) passed[i] = (REAL)d;
        if (!dx) continue;
        if (own) {
            MATH x_hat = normal(x[i], mean[c], variance[c], eps);
            d = d - dbeta[c] / (MATH)positions - x_hat * (dgamma[c] / (MATH)positions);
        }
        MATH scale = 1 / sqrt(variance[c] + eps);
        dx[i] = (REAL)(d * (gamma ? scale * gamma[c] : scale));
    }
}
