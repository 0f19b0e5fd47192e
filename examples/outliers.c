// Keeps the rows of all tables in datasets/ whose value in one column lies within bounds, as a
// WebAssembly algorithm:
//
//   clang --target=wasm32-wasi -O2 -o outliers.wasm examples/outliers.c
//   cocos algo outliers.wasm KEY -a wasm --args mean_radius --args 10 --args 20
//
// Results: kept.csv, with the header of the first table, and counts.txt. No row outside the bounds
// leaves the machine. (Debian: clang lld wasi-libc libclang-rt-14-dev-wasm32)
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 65536 };

static char line[LINE], copy[LINE];

// Cuts the text at each comma and gives the field with this number, or NULL.
static char *field(char *text, int number) {
  char *at = text;
  for (; number > 0 && at != NULL; number--) {
    at = strchr(at, ',');
    if (at != NULL) at++;
  }
  if (at != NULL) at[strcspn(at, ",\r\n")] = 0;
  return at;
}

static int column_of(const char *header, const char *name) {
  for (int number = 0;; number++) {
    strcpy(copy, header);
    char *found = field(copy, number);
    if (found == NULL) return -1;
    if (strcmp(found, name) == 0) return number;
  }
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: outliers COLUMN LOWEST HIGHEST\n");
    return 2;
  }
  const double lowest = atof(argv[2]), highest = atof(argv[3]);
  char *tables[256];
  int count = 0;
  DIR *folder = opendir("datasets");
  if (folder == NULL) return perror("datasets"), 1;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < 256;) {
    if (entry->d_name[0] != '.') tables[count++] = strdup(entry->d_name);
  }
  closedir(folder);
  // The order of a directory is nobody's: the same data must give the same result.
  qsort(tables, count, sizeof *tables, by_name);

  FILE *kept = fopen("results/kept.csv", "w");
  if (kept == NULL) return perror("results/kept.csv"), 1;
  long read = 0, wrote = 0;
  for (int i = 0; i < count; i++) {
    char path[512];
    snprintf(path, sizeof path, "datasets/%s", tables[i]);
    FILE *table = fopen(path, "r");
    if (table == NULL) return perror(path), 1;
    if (fgets(line, LINE, table) == NULL) return fprintf(stderr, "%s is empty\n", path), 1;
    const int column = column_of(line, argv[1]);
    if (column < 0) return fprintf(stderr, "%s has no column %s\n", path, argv[1]), 1;
    if (i == 0) fputs(line, kept);
    while (fgets(line, LINE, table) != NULL) {
      read++;
      strcpy(copy, line);
      const char *cell = field(copy, column);
      if (cell == NULL) continue;
      const double value = atof(cell);
      if (value < lowest || value > highest) continue;
      fputs(line, kept);
      wrote++;
    }
    fclose(table);
  }
  FILE *counts = fopen("results/counts.txt", "w");
  if (counts == NULL) return perror("results/counts.txt"), 1;
  fprintf(counts, "%ld of %ld rows\n", wrote, read);
  return fclose(counts) | fclose(kept);
}
