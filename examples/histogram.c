// Counts the rows of all tables in datasets/ by where the value of one column lies, as a program for
// the machine itself:
//
//   cc -O2 -static -o histogram examples/histogram.c
//   cocos algo histogram KEY -a bin --args mean_radius --args 5 --args 5
//
// Arguments: the column, the lowest bound, the width of a step. Result: histogram.csv with twelve steps.
// A step with fewer than five rows is not told: who is alone in one would be.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 12, FEWEST = 5, LINE = 1 << 16 };

static char line[LINE];

/** The cell with this number, or nothing. */
static char *cell(char *row, int wanted) {
  for (; wanted > 0 && row != NULL; wanted--) {
    row = strchr(row, ',');
    if (row != NULL) row++;
  }
  return row;
}

/** Adds a table's rows; -1 when it can't be read. */
static int add(const char *name, const char *column, double from, double width, long *counts) {
  char path[4096];
  snprintf(path, sizeof path, "datasets/%s", name);
  FILE *table = fopen(path, "r");
  if (table == NULL || fgets(line, sizeof line, table) == NULL) return -1;
  line[strcspn(line, "\r\n")] = '\0';
  int wanted = 0;
  for (char *at = strtok(line, ","); at != NULL && strcmp(at, column) != 0; at = strtok(NULL, ","))
    wanted++;
  while (fgets(line, sizeof line, table) != NULL) {
    char *text = cell(line, wanted), *end = text;
    if (text == NULL) continue;
    double value = strtod(text, &end);
    if (end == text || value < from || value >= from + width * STEPS) continue;
    counts[(int)((value - from) / width)]++;
  }
  return fclose(table);
}

int main(int argc, char **argv) {
  long counts[STEPS] = {0};
  if (argc != 4 || atof(argv[3]) <= 0) {
    fputs("histogram COLUMN FROM WIDTH\n", stderr);
    return 2;
  }
  double from = atof(argv[2]), width = atof(argv[3]);
  DIR *folder = opendir("datasets");
  if (folder == NULL) return 1;
  for (struct dirent *each; (each = readdir(folder)) != NULL;) {
    if (each->d_name[0] == '.') continue;
    if (add(each->d_name, argv[1], from, width, counts) != 0) return 1;
  }
  closedir(folder);
  FILE *out = fopen("results/histogram.csv", "w");
  if (out == NULL) return 1;
  fputs("from,to,rows\n", out);
  for (int i = 0; i < STEPS; i++)
    if (counts[i] >= FEWEST)
      fprintf(out, "%g,%g,%ld\n", from + width * i, from + width * (i + 1), counts[i]);
  return fclose(out);
}
