// im2col and col2im for channels-last images, in memory (images, size[0], size[1], size[2], channels).
// What a window sees at one position is one row of the matrix, all channels of a tap side by side:
// columns (images * positions, taps * channels). So neighbouring threads read and write neighbours.
#include "common.cuh"

KERNEL im2col(const REAL* x, REAL* columns, Window w, Int channels_, Int count) {
    const Index channels = (Index)channels_;
    const Index n0 = w.size[0], n1 = w.size[1], n2 = w.size[2];
    const Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2], taps = k0 * k1 * k2;
    FOR_EACH(i, count) {
        Index column = i % (channels * taps), row = i / (channels * taps);
        Index channel = column % channels, tap = column / channels;
        Index q2 = row % (Index)w.out[2];
        row /= (Index)w.out[2];
        Index q1 = row % (Index)w.out[1];
        row /= (Index)w.out[1];
        Index q0 = row % (Index)w.out[0], image = row / (Index)w.out[0];
        Index p0 = start_of(w, 0, q0);
        Index p1 = start_of(w, 1, q1);
        Index p2 = start_of(w, 2, q2);
        p0 += tap / k2 / k1 * (Index)w.dilation[0];
        p1 += tap / k2 % k1 * (Index)w.dilation[1];
        p2 += tap % k2 * (Index)w.dilation[2];
        MATH value = 0;
        if (p0 >= 0 && p0 < n0 && p1 >= 0 && p1 < n1 && p2 >= 0 && p2 < n2) {
            value = x[(((image * n0 + p0) * n1 + p1) * n2 + p2) * channels + channel];
        }
        columns[i] = (REAL)value;
    }
}

// The transpose of im2col: each element of the image adds up the columns taken from it, tap by tap.
KERNEL col2im(const REAL* columns, REAL* x, Window w, Int channels_, Int count) {
    const Index channels = (Index)channels_;
    const Index n0 = w.size[0], n1 = w.size[1], n2 = w.size[2];
    const Index m0 = w.out[0], m1 = w.out[1], m2 = w.out[2];
    const Index k0 = w.kernel[0], k1 = w.kernel[1], k2 = w.kernel[2], taps = k0 * k1 * k2;
    FOR_EACH(i, count) {
        Index channel = i % channels, rest = i / channels;
        Index p2 = rest % n2;
        rest /= n2;
        Index p1 = rest % n1;
        rest /= n1;
        Index p0 = rest % n0, image = rest / n0;
        MATH total = 0;
        for (Index t0 = 0; t0 < k0; t0++) {
            Index q0 = window_of(w, 0, p0, t0);
            if (q0 < 0) continue;
            for (Index t1 = 0; t1 < k1; t1++) {
                Index q1 = window_of(w, 1, p1, t1);
                if (q1 < 0) continue;
                for (Index t2 = 0; t2 < k2; t2++) {
                    Index q2 = window_of(w, 2, p2, t2);
                    if (q2 < 0) continue;
                    Index row = ((image * m0 + q0) * m1 + q1) * m2 + q2;
                    Index tap = (t0 * k1 + t1) * k2 + t2;
                    total += (MATH)columns[(row * taps + tap) * channels + channel];
                }
            }
        }
        x[i] = (REAL)total;
    }
}
