/* Mel-frequency cepstral coefficients of a buffer of sound, in single precision: the same steps as for the training
 * data (pipeline/datasets/_mfcc.py). All tables are constants that the generator computed. Static functions only, so
 * that two networks in one program may have different settings. No heap; sqrtf and logf come from the C library.
 * In a constant signal or a tone without noise, empty bins hold rounding errors only: their logarithms differ from one
 * implementation to the next. */
#ifndef MFCC_H
#define MFCC_H

#include <math.h>
#include <stdint.h>

#define MFCC_LOG_OFFSET 1e-6f

typedef struct {
    int window, stride;          /* samples of a frame; samples from one frame to the next */
    int fft;                     /* points of the Fourier transform: a power of two, at least `window` */
    int mel_bins, coefficients;  /* triangles; outputs of the cosine transform that are kept */
    const float *hann;           /* [window] */
    const float *cosine, *sine;  /* [fft / 2]: of 2 pi k / fft */
    const uint16_t *first, *end; /* [mel_bins] bins under each triangle, `end` excluded */
    const float *weights;        /* of those bins, one triangle after another */
    const float *dct;            /* [coefficients][mel_bins] */
} mfcc_settings;

/* The largest sample, at least 1: what all samples are divided by. */
static inline float mfcc_largest(const int16_t *sound, int samples) {
    int16_t largest = 1;
    for (int i = 0; i < samples; i++) {
        if (sound[i] > largest) largest = sound[i];
    }
    return (float)largest;
}

/* Moves complex numbers to the places whose indices have their bits in reverse order. */
static inline void mfcc_reverse(float *z, int count) {
    for (int i = 1, j = 0; i < count; i++) {
        int bit = count >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i >= j) continue;
        for (int part = 0; part < 2; part++) {
            const float kept = z[2 * i + part];
            z[2 * i + part] = z[2 * j + part];
            z[2 * j + part] = kept;
        }
    }
}

/* Fourier transform of fft / 2 complex numbers in place: radix 2, decimation in time. */
static inline void mfcc_transform(const mfcc_settings *s, float *z) {
    const int count = s->fft / 2;
    mfcc_reverse(z, count);
    for (int half = 1; half < count; half *= 2) {
        for (int k = 0; k < half; k++) {
            const float c = s->cosine[k * (count / half)], w = s->sine[k * (count / half)];
            for (int i = k; i < count; i += 2 * half) {
                float *a = z + 2 * i, *b = a + 2 * half;
                const float re = b[0] * c + b[1] * w, im = b[1] * c - b[0] * w;
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] += re;
                a[1] += im;
            }
        }
    }
}

/* Magnitudes of the transform of `fft` real numbers: z holds the even ones as real parts and the odd ones as imaginary
 * parts. Bin k ends up in z[2 * k], the last one, fft / 2, in z[1]. */
static inline void mfcc_magnitudes(const mfcc_settings *s, float *z) {
    const int count = s->fft / 2;
    mfcc_transform(s, z);
    const float sum = z[0] + z[1], difference = z[0] - z[1];
    z[0] = fabsf(sum);
    z[1] = fabsf(difference);
    for (int k = 1; k <= count / 2; k++) {
        float *a = z + 2 * k, *b = z + 2 * (count - k);
        const float even_re = 0.5f * (a[0] + b[0]), even_im = 0.5f * (a[1] - b[1]);
        const float odd_re = 0.5f * (a[1] + b[1]), odd_im = 0.5f * (b[0] - a[0]);
        const float re = odd_re * s->cosine[k] + odd_im * s->sine[k], im = odd_im * s->cosine[k] - odd_re * s->sine[k];
        a[0] = sqrtf((even_re + re) * (even_re + re) + (even_im + im) * (even_im + im));
        if (a != b) b[0] = sqrtf((even_re - re) * (even_re - re) + (even_im - im) * (even_im - im));
    }
}

/* The coefficients of one frame of `window` samples. buffer: fft floats; mel: mel_bins floats. */
static inline void mfcc_frame(const mfcc_settings *s, const int16_t *frame, float largest, float *buffer, float *mel,
                              float *coefficients) {
    for (int i = 0; i < s->fft; i++) buffer[i] = i < s->window ? (float)frame[i] / largest * s->hann[i] : 0.0f;
    mfcc_magnitudes(s, buffer);
    const float *weight = s->weights;
    for (int m = 0; m < s->mel_bins; m++) {
        float sum = 0.0f;
        for (int k = s->first[m]; k < s->end[m]; k++) sum += *weight++ * buffer[k == s->fft / 2 ? 1 : 2 * k];
        mel[m] = logf(sum + MFCC_LOG_OFFSET);
    }
    for (int c = 0; c < s->coefficients; c++) {
        float sum = 0.0f;
        for (int m = 0; m < s->mel_bins; m++) sum += s->dct[c * s->mel_bins + m] * mel[m];
        coefficients[c] = sum;
    }
}

#endif
