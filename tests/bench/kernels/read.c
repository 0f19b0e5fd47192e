// Reads a file in pieces of 64 KiB, as often as the second argument says, and prints a sum of one byte
// of each, so that nothing of it can be left out, and the seconds it took.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static unsigned char piece[65536];

int main(int argc, char **argv) {
  unsigned long long sum = 0, bytes = 0;
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int round = argc > 2 ? atoi(argv[2]) : 1; round > 0; round--) {
    int file = open(argv[1], O_RDONLY);
    if (file < 0) return 1;
    for (ssize_t got; (got = read(file, piece, sizeof piece)) > 0;) {
      sum += piece[got / 2];
      bytes += got;
    }
    close(file);
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%llu %llu\n%.6f s\n", bytes, sum, to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
  return 0;
}
