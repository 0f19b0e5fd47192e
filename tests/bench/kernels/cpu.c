// Work that never leaves the processor: primes by a sieve, planets by floating point, matrices, and
// mixing of 64-bit numbers. Prints one number that depends on all of it, and the seconds it took.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t sieve(int limit) {
  uint8_t *composite = calloc(limit, 1);
  uint64_t sum = 0;
  for (int i = 2; i < limit; i++) {
    if (composite[i]) continue;
    sum += i;
    for (int64_t j = (int64_t)i * i; j < limit; j += i) composite[j] = 1;
  }
  free(composite);
  return sum;
}

typedef struct { double x, y, z, vx, vy, vz, mass; } Body;

static double planets(int steps) {
  Body bodies[5];
  for (int i = 0; i < 5; i++) {
    bodies[i] = (Body){i * 1.7, i * i * 0.3, 0.1 * i, 0.01 * i, -0.02 * i, 0.003, i == 0 ? 39.5 : 0.04};
  }
  for (int step = 0; step < steps; step++) {
    for (int i = 0; i < 5; i++) {
      for (int j = i + 1; j < 5; j++) {
        Body *a = &bodies[i], *b = &bodies[j];
        double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
        double square = dx * dx + dy * dy + dz * dz + 0.01;
        double force = 0.0001 / (square * sqrt(square));
        a->vx -= dx * b->mass * force; a->vy -= dy * b->mass * force; a->vz -= dz * b->mass * force;
        b->vx += dx * a->mass * force; b->vy += dy * a->mass * force; b->vz += dz * a->mass * force;
      }
    }
    for (int i = 0; i < 5; i++) {
      bodies[i].x += bodies[i].vx * 0.0001;
      bodies[i].y += bodies[i].vy * 0.0001;
      bodies[i].z += bodies[i].vz * 0.0001;
    }
  }
  return bodies[1].x + bodies[2].y;
}

static double matrices(int n) {
  double *a = malloc(n * n * sizeof *a), *b = malloc(n * n * sizeof *b), *c = calloc(n * n, sizeof *c);
  for (int i = 0; i < n * n; i++) a[i] = i % 17 * 0.5, b[i] = i % 23 * 0.25;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++)
      for (int j = 0; j < n; j++) c[i * n + j] += a[i * n + k] * b[k * n + j];
  double trace = 0;
  for (int i = 0; i < n; i++) trace += c[i * n + i];
  free(a); free(b); free(c);
  return trace;
}

static uint64_t mixing(int rounds) {
  uint64_t state = 88172645463325252ull, sum = 0;
  for (int i = 0; i < rounds; i++) {
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    sum += state * 0x9e3779b97f4a7c15ull;
  }
  return sum;
}

int main(void) {
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  double all = (double)sieve(30000000) + planets(5000000) + matrices(900) + (double)(mixing(150000000) >> 40);
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%.6f\n%.6f s\n", all, to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
  return 0;
}
