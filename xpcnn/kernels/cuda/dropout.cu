// Masks of dropout, as NumPy's Generator(Philox(key)).random(dtype=float32) draws them, and their use.
#include "common.cuh"

typedef unsigned long long Word;

// The upper 64 bits of a product.
DEVICE Word upper_product(Word a, Word b) {
#ifdef __CUDACC__
    return __umul64hi(a, b);
#else
    return (Word)((unsigned __int128)a * b >> 64);
#endif
}

// Turn a counter of 256 bits into as many random ones: Philox4x64-10 (Salmon et al., 2011).
DEVICE void philox(Word w[4], Word first_key, Word second_key) {
    const Word first_factor = 0xD2E7470EE14C6C93, second_factor = 0xCA5A826395121157;
    for (int round = 0; round < 10; round++) {
        Word first_upper = upper_product(first_factor, w[0]), first_lower = first_factor * w[0];
        Word second_upper = upper_product(second_factor, w[2]), second_lower = second_factor * w[2];
        w[0] = second_upper ^ w[1] ^ first_key;
        w[1] = second_lower;
        w[2] = first_upper ^ w[3] ^ second_key;
        w[3] = first_lower;
        first_key += 0x9E3779B97F4A7C15;   // the golden ratio
        second_key += 0xBB67AE8584CAA73B;  // the square root of 3, minus 1
    }
}

// Which numbers of the mask are kept: those that are at least p. A block of Philox gives eight, of
// 24 bits each; the lower half of each word comes first. NumPy begins with counter 1.
KERNEL dropout_draw(unsigned char* kept, Int count, Int first_key, Int second_key, MATH p) {
    FOR_EACH(block, (count + 7) / 8) {
        Word words[4] = {(Word)block + 1, 0, 0, 0};
        philox(words, (Word)first_key, (Word)second_key);
        for (int part = 0; part < 8; part++) {
            Index i = block * 8 + part;
            unsigned int bits = (unsigned int)(words[part / 2] >> 32 * (part % 2));
            if (i < (Index)count) kept[i] = (float)(bits >> 8) / 16777216.0f >= (float)p;
        }
    }
}

// Element i in the order of the axes belongs to number i / together of the mask. The memory is in
// that order (channels and positions are 1 then) or channels-last.
KERNEL dropout_apply(
    const REAL* x, const unsigned char* kept, REAL* y, MATH scale, Int count, Int channels,
    Int positions, Int together) {
    MATH rounded = (MATH)(REAL)scale;  // as the generic kernels' mask
    FOR_EACH(at, count) {
        Index pixel = at / (Index)channels, c = at % (Index)channels;
        Index n = pixel / (Index)positions, position = pixel % (Index)positions;
        Index i = (n * (Index)channels + c) * (Index)positions + position;
        y[at] = (REAL)((MATH)x[at] * (kept[i / (Index)together] ? rounded : (MATH)0));
    }
}
