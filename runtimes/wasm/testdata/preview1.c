// Every function of WASI preview 1, asked directly. Works in the directory "results"; prints what is
// not as it should be and ends with the number of such findings (at most 100).
//   clang --target=wasm32-wasi -O1 -o preview1.wasm preview1.c
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static int found;
static int checks;
static const char *part;

static void check(bool ok, int line, const char *what, int got) {
  checks++;
  if (ok) return;
  found++;
  printf("%s, line %d: %s (errno %d)\n", part, line, what, got);
}

static bool among(int got, int count, ...) {
  va_list list;
  va_start(list, count);
  bool hit = false;
  for (int i = 0; i < count; i++) hit |= va_arg(list, int) == got;
  va_end(list);
  return hit;
}

#define OK(call) do { int e_ = (call); check(e_ == 0, __LINE__, #call, e_); } while (0)
#define IS(condition) check((condition), __LINE__, #condition, -1)
#define NO1(a, call) do { int e_ = (call); check(among(e_, 1, __WASI_ERRNO_##a), __LINE__, #call " -> " #a, e_); } while (0)
#define NO2(a, b, call) do { int e_ = (call); check(among(e_, 2, __WASI_ERRNO_##a, __WASI_ERRNO_##b), __LINE__, #call " -> " #a " " #b, e_); } while (0)
#define NO3(a, b, c, call) do { int e_ = (call); check(among(e_, 3, __WASI_ERRNO_##a, __WASI_ERRNO_##b, __WASI_ERRNO_##c), __LINE__, #call " -> " #a " " #b " " #c, e_); } while (0)

#define R(name) __WASI_RIGHTS_##name
static const __wasi_rights_t RW = R(FD_READ) | R(FD_WRITE) | R(FD_SEEK) | R(FD_TELL) |
  R(FD_FILESTAT_GET) | R(FD_FDSTAT_SET_FLAGS) | R(FD_FILESTAT_SET_SIZE) | R(FD_FILESTAT_SET_TIMES) |
  R(FD_ALLOCATE) | R(FD_ADVISE) | R(FD_SYNC) | R(FD_DATASYNC) | R(POLL_FD_READWRITE);
static const __wasi_rights_t DIRS = R(FD_FILESTAT_GET) | R(FD_READDIR) | R(PATH_CREATE_FILE) |
  R(PATH_CREATE_DIRECTORY) | R(PATH_REMOVE_DIRECTORY) | R(PATH_OPEN) | R(PATH_UNLINK_FILE) |
  R(PATH_LINK_SOURCE) | R(PATH_LINK_TARGET) | R(PATH_READLINK) | R(PATH_RENAME_SOURCE) |
  R(PATH_RENAME_TARGET) | R(PATH_FILESTAT_GET) | R(PATH_FILESTAT_SET_SIZE) |
  R(PATH_FILESTAT_SET_TIMES) | R(PATH_SYMLINK);

static int open_at(int dir, int follow, const char *path, int oflags, __wasi_rights_t rights,
                   int flags, __wasi_fd_t *fd) {
  return __wasi_path_open(dir, follow, path, oflags, rights, RW | DIRS, flags, fd);
}

static void make_file(int dir, const char *path) {
  __wasi_fd_t fd = 0;
  OK(open_at(dir, 0, path, __WASI_OFLAGS_CREAT, 0, 0, &fd));
  IS(fd > 2);
  OK(__wasi_fd_close(fd));
}

static int put(int fd, const void *bytes, size_t length) {
  __wasi_ciovec_t piece = {bytes, length};
  __wasi_size_t done = 0;
  int e = __wasi_fd_write(fd, &piece, 1, &done);
  return e == 0 ? (int)done : -e;
}

static int get(int fd, void *bytes, size_t length) {
  __wasi_iovec_t piece = {bytes, length};
  __wasi_size_t done = 0;
  int e = __wasi_fd_read(fd, &piece, 1, &done);
  return e == 0 ? (int)done : -e;
}

static void args_and_environment(void) {
  __wasi_size_t count = 9, size = 0;
  OK(__wasi_args_sizes_get(&count, &size));
  IS(count >= 1 && count < 10 && size < 4096);
  uint8_t *list[10], bytes[4096];
  OK(__wasi_args_get(list, bytes));
  IS(list[0] == bytes);
  OK(__wasi_environ_sizes_get(&count, &size));
  IS(count < 10 && size < 4096);
  OK(__wasi_environ_get(list, bytes));
}

static void clocks_and_chance(void) {
  __wasi_timestamp_t resolution = 0, then = 0, later = 0;
  for (int id = 0; id < 2; id++) {
    OK(__wasi_clock_res_get(id, &resolution));
    IS(resolution > 0 && resolution < 1000000000);
    OK(__wasi_clock_time_get(id, 1, &then));
    OK(__wasi_clock_time_get(id, 1, &later));
    IS(then > 0 && later >= then);
  }
  // Clocks of the processor need not be there; where they are, they run.
  for (int id = 2; id < 4; id++) {
    int e = __wasi_clock_time_get(id, 1, &then);
    IS(among(e, 4, 0, __WASI_ERRNO_NOTSUP, __WASI_ERRNO_INVAL, __WASI_ERRNO_BADF));
    if (e == 0) IS(then > 0 && then < 1000000000000);
  }
  NO2(INVAL, BADF, __wasi_clock_time_get(99, 1, &then));
  static uint8_t bytes[200000];
  OK(__wasi_random_get(bytes, sizeof bytes));
  size_t zeros = 0;
  for (size_t i = 0; i < sizeof bytes; i++) zeros += bytes[i] == 0;
  IS(zeros > 200000 / 512 && zeros < 200000 / 128);
  OK(__wasi_random_get(bytes, 0));
  OK(__wasi_sched_yield());
}

static void streams(void) {
  __wasi_fdstat_t stat;
  for (int fd = 0; fd < 3; fd++) {
    OK(__wasi_fd_fdstat_get(fd, &stat));
    IS(stat.fs_filetype != __WASI_FILETYPE_DIRECTORY);
  }
  IS(put(77, "x", 1) == -__WASI_ERRNO_BADF);
  IS(put(1, "", 0) == 0);
  NO1(BADF, __wasi_sock_shutdown(77, __WASI_SDFLAGS_RD));
  NO1(NOTSOCK, __wasi_sock_shutdown(1, __WASI_SDFLAGS_RD));
  __wasi_size_t done;
  __wasi_roflags_t flags;
  char byte;
  __wasi_iovec_t in = {(uint8_t *)&byte, 1};
  __wasi_ciovec_t out = {(uint8_t *)&byte, 1};
  NO2(NOTSOCK, BADF, __wasi_sock_recv(3, &in, 1, 0, &done, &flags));
  NO2(NOTSOCK, BADF, __wasi_sock_send(3, &out, 1, 0, &done));
}

static void preopens(int root) {
  __wasi_prestat_t prestat;
  OK(__wasi_fd_prestat_get(root, &prestat));
  IS(prestat.tag == __WASI_PREOPENTYPE_DIR);
  uint8_t name[64] = {0};
  size_t length = prestat.u.dir.pr_name_len;
  IS(length > 0 && length < 60);
  OK(__wasi_fd_prestat_dir_name(root, name, length));
  OK(__wasi_fd_prestat_dir_name(root, name, length + 1));
  NO2(INVAL, NAMETOOLONG, __wasi_fd_prestat_dir_name(root, name, 0));
  NO1(BADF, __wasi_fd_prestat_get(1, &prestat));
  NO1(BADF, __wasi_fd_prestat_get(999, &prestat));
  __wasi_fdstat_t stat;
  OK(__wasi_fd_fdstat_get(root, &stat));
  __wasi_rights_t base = DIRS & ~R(PATH_FILESTAT_SET_SIZE);
  IS((stat.fs_rights_base & base) == base);
  __wasi_rights_t below = base | R(FD_READ) | R(FD_WRITE) | R(FD_SEEK) | R(FD_TELL) | R(FD_SYNC) |
    R(FD_DATASYNC) | R(FD_ADVISE) | R(FD_ALLOCATE) | R(FD_FILESTAT_SET_SIZE) |
    R(FD_FILESTAT_SET_TIMES) | R(FD_FDSTAT_SET_FLAGS) | R(POLL_FD_READWRITE);
  IS((stat.fs_rights_inheriting & below) == below);
  __wasi_fd_t fd;
  OK(__wasi_path_open(root, 0, ".", 0, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &fd));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_open(root, 0, ".", 0, 0, 0, 0, &fd));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_open(root, 0, ".", __WASI_OFLAGS_DIRECTORY, R(FD_READ), 0, 0, &fd));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_open(root, 0, ".", 0, 0, 0, __WASI_FDFLAGS_NONBLOCK, &fd));
  OK(__wasi_fd_close(fd));
  NO1(ISDIR, __wasi_path_open(root, 0, ".", __WASI_OFLAGS_DIRECTORY, R(FD_READ) | R(FD_WRITE), 0, 0, &fd));
}

static void reading_and_writing(int dir) {
  __wasi_fd_t fd;
  char bytes[256];
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  __wasi_filesize_t at = 9;
  OK(__wasi_fd_tell(fd, &at));
  IS(at == 0);
  IS(put(fd, memset(bytes, 'a', 100), 100) == 100);
  OK(__wasi_fd_tell(fd, &at));
  IS(at == 100);
  OK(__wasi_fd_seek(fd, -50, __WASI_WHENCE_CUR, &at));
  IS(at == 50);
  OK(__wasi_fd_seek(fd, -20, __WASI_WHENCE_END, &at));
  IS(at == 80);
  OK(__wasi_fd_seek(fd, 1000, __WASI_WHENCE_CUR, &at));
  IS(at == 1080);
  NO1(INVAL, __wasi_fd_seek(fd, -2000, __WASI_WHENCE_CUR, &at));
  NO1(INVAL, __wasi_fd_seek(fd, 0, 3, &at));
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  IS(get(fd, bytes, 200) == 100);
  IS(get(fd, bytes, 200) == 0);
  __wasi_size_t done;
  __wasi_iovec_t in[3] = {{(uint8_t *)bytes, 2}, {(uint8_t *)bytes, 0}, {(uint8_t *)bytes + 2, 3}};
  __wasi_ciovec_t out[2] = {{(uint8_t *)"xy", 2}, {(uint8_t *)"z", 1}};
  OK(__wasi_fd_pwrite(fd, out, 2, 98, &done));
  IS(done == 3);
  OK(__wasi_fd_pread(fd, in, 3, 97, &done));
  IS(done == 4 && memcmp(bytes, "axyz", 4) == 0);
  OK(__wasi_fd_pread(fd, in, 3, 5000, &done));
  IS(done == 0);
  OK(__wasi_fd_tell(fd, &at));
  IS(at == 100);
  NO1(INVAL, __wasi_fd_pread(fd, in, 1, (__wasi_filesize_t)-1, &done));
  __wasi_filestat_t stat;
  OK(__wasi_fd_allocate(fd, 0, 300));
  OK(__wasi_fd_filestat_get(fd, &stat));
  IS(stat.size == 300);
  OK(__wasi_fd_allocate(fd, 10, 10));
  OK(__wasi_fd_filestat_get(fd, &stat));
  IS(stat.size == 300);
  OK(__wasi_fd_filestat_set_size(fd, 100));
  OK(__wasi_fd_filestat_get(fd, &stat));
  IS(stat.size == 100 && stat.filetype == __WASI_FILETYPE_REGULAR_FILE && stat.nlink == 1);
  OK(__wasi_fd_advise(fd, 0, 10, __WASI_ADVICE_WILLNEED));
  OK(__wasi_fd_sync(fd));
  OK(__wasi_fd_datasync(fd));
  OK(__wasi_fd_close(fd));
  NO1(BADF, __wasi_fd_close(fd));

  OK(open_at(dir, 0, "file", 0, R(FD_READ), 0, &fd));
  __wasi_fdstat_t fdstat;
  OK(__wasi_fd_fdstat_get(fd, &fdstat));
  IS((fdstat.fs_rights_base & R(FD_READ)) && !(fdstat.fs_rights_base & R(FD_WRITE)));
  IS(fdstat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE);
  IS(among(-put(fd, "x", 1), 3, __WASI_ERRNO_BADF, __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_ACCES));
  OK(__wasi_fd_close(fd));
  OK(open_at(dir, 0, "file", 0, R(FD_WRITE), 0, &fd));
  IS(among(-get(fd, bytes, 1), 3, __WASI_ERRNO_BADF, __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_ACCES));
  IS(put(fd, "x", 1) == 1);
  OK(__wasi_fd_close(fd));
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, RW, 0, &fd));
  IS(get(fd, bytes, 100) == 0);
  OK(__wasi_fd_close(fd));
  NO1(EXIST, open_at(dir, 0, "file", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, RW, 0, &fd));
  NO1(NOENT, open_at(dir, 0, "missing", 0, RW, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "file"));
}

static void appending(int dir) {
  __wasi_fd_t fd;
  char bytes[128];
  __wasi_filesize_t at;
  OK(open_at(dir, 0, "log", __WASI_OFLAGS_CREAT, RW, __WASI_FDFLAGS_APPEND, &fd));
  IS(put(fd, "aa", 2) == 2);
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  IS(put(fd, "bb", 2) == 2);
  OK(__wasi_fd_tell(fd, &at));
  IS(at == 4);
  __wasi_ciovec_t out = {(uint8_t *)"ccc", 3};
  __wasi_size_t done;
  OK(__wasi_fd_pwrite(fd, &out, 1, 0, &done));
  OK(__wasi_fd_tell(fd, &at));
  IS(at == 4);
  OK(__wasi_fd_fdstat_set_flags(fd, 0));
  __wasi_fdstat_t fdstat;
  OK(__wasi_fd_fdstat_get(fd, &fdstat));
  IS(fdstat.fs_flags == 0);
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  IS(put(fd, "d", 1) == 1);
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  IS(get(fd, bytes, 1) == 1 && bytes[0] == 'd');
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "log"));
}

static void times(int dir) {
  __wasi_fd_t fd;
  __wasi_filestat_t stat, after;
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, __WASI_FDFLAGS_APPEND, &fd));
  OK(__wasi_fd_filestat_get(fd, &stat));
  OK(__wasi_fd_filestat_set_times(fd, 1, stat.mtim - 100, __WASI_FSTFLAGS_MTIM));
  OK(__wasi_fd_filestat_get(fd, &after));
  IS(after.mtim == stat.mtim - 100 && after.atim == stat.atim);
  OK(__wasi_path_filestat_set_times(dir, 0, "file", stat.atim - 7, stat.mtim - 300, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_ATIM));
  OK(__wasi_path_filestat_get(dir, 0, "file", &after));
  IS(after.mtim == stat.mtim - 300 && after.atim == stat.atim - 7);
  NO1(INVAL, __wasi_fd_filestat_set_times(fd, 1, 2, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
  NO1(INVAL, __wasi_fd_filestat_set_times(fd, 1, 2, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW));
  NO1(INVAL, __wasi_path_filestat_set_times(dir, 0, "file", 1, 2, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
  OK(__wasi_path_filestat_get(dir, 0, "file", &after));
  IS(after.mtim == stat.mtim - 300);
  OK(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW | __WASI_FSTFLAGS_ATIM_NOW));
  OK(__wasi_fd_filestat_get(fd, &after));
  IS(after.mtim + 1000000 >= stat.mtim);
  OK(__wasi_fd_close(fd));
  NO1(NOENT, __wasi_path_filestat_set_times(dir, 0, "gone", 1, 2, __WASI_FSTFLAGS_MTIM));
  OK(__wasi_path_symlink("file", dir, "link"));
  __wasi_filestat_t link, followed;
  OK(__wasi_path_filestat_get(dir, 0, "link", &link));
  IS(link.filetype == __WASI_FILETYPE_SYMBOLIC_LINK && link.size == 4);
  OK(__wasi_path_filestat_set_times(dir, 0, "link", 0, link.mtim - 200, __WASI_FSTFLAGS_MTIM));
  OK(__wasi_path_filestat_get(dir, 0, "file", &stat));
  OK(__wasi_path_filestat_get(dir, 1, "link", &followed));
  IS(followed.mtim == stat.mtim && followed.ino == stat.ino);
  OK(__wasi_path_filestat_set_times(dir, 1, "link", 0, link.mtim, __WASI_FSTFLAGS_MTIM));
  OK(__wasi_path_filestat_get(dir, 0, "file", &stat));
  IS(stat.mtim == link.mtim);
  OK(__wasi_path_filestat_get(dir, 0, "link", &followed));
  IS(followed.mtim == link.mtim - 200);
  OK(__wasi_path_unlink_file(dir, "link"));
  OK(__wasi_path_unlink_file(dir, "file"));
}

static void rights(int dir) {
  __wasi_fd_t fd;
  __wasi_fdstat_t stat;
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  OK(__wasi_fd_fdstat_get(fd, &stat));
  int e = __wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base & ~(R(FD_READ) | R(FD_WRITE)), stat.fs_rights_inheriting);
  if (e != __WASI_ERRNO_NOTSUP) {
    OK(e);
    char byte;
    IS(among(-get(fd, &byte, 1), 2, __WASI_ERRNO_BADF, __WASI_ERRNO_NOTCAPABLE));
    IS(among(-put(fd, "x", 1), 2, __WASI_ERRNO_BADF, __WASI_ERRNO_NOTCAPABLE));
    NO1(NOTCAPABLE, __wasi_fd_fdstat_set_rights(fd, stat.fs_rights_base, stat.fs_rights_inheriting));
    __wasi_fd_t folder, other;
    OK(open_at(dir, 0, ".", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &folder));
    OK(__wasi_fd_fdstat_get(folder, &stat));
    IS((stat.fs_rights_base & R(FD_FILESTAT_SET_SIZE)) == 0 && stat.fs_flags == 0);
    OK(open_at(folder, 0, "file", __WASI_OFLAGS_TRUNC, 0, 0, &other));
    OK(__wasi_fd_close(other));
    OK(__wasi_fd_fdstat_set_rights(folder, stat.fs_rights_base & ~R(PATH_FILESTAT_SET_SIZE), stat.fs_rights_inheriting & ~R(FD_WRITE)));
    NO2(PERM, NOTCAPABLE, open_at(folder, 0, "file", __WASI_OFLAGS_TRUNC, 0, 0, &other));
    OK(open_at(folder, 0, "file", 0, R(FD_READ) | R(FD_WRITE), 0, &other));
    IS(among(-put(other, "x", 1), 2, __WASI_ERRNO_BADF, __WASI_ERRNO_NOTCAPABLE));
    OK(__wasi_fd_close(other));
    OK(__wasi_fd_close(folder));
  }
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "file"));
}

// Reads a directory through a buffer of `room` bytes; -1 when the names aren't as they should be.
static int count_entries(int dir, size_t room, uint64_t *last_cookie) {
  uint8_t buffer[4096];
  __wasi_dircookie_t cookie = 0;
  int count = 0;
  for (int turns = 0; turns < 100000; turns++) {
    __wasi_size_t used = 0;
    if (__wasi_fd_readdir(dir, buffer, room, cookie, &used) != 0) return -1;
    size_t at = 0;
    while (at + sizeof(__wasi_dirent_t) <= used) {
      __wasi_dirent_t entry;
      memcpy(&entry, buffer + at, sizeof entry);
      if (at + sizeof entry + entry.d_namlen > used) break;
      if (last_cookie) *last_cookie = cookie;
      cookie = entry.d_next;
      at += sizeof entry + entry.d_namlen;
      count++;
    }
    if (used < room) return count;
    if (at == 0) return -1;
  }
  return -1;
}

static void directories(int dir) {
  __wasi_fd_t fd;
  __wasi_filestat_t stat, entry_stat;
  OK(__wasi_path_create_directory(dir, "sub"));
  NO1(EXIST, __wasi_path_create_directory(dir, "sub"));
  NO1(EXIST, __wasi_path_create_directory(dir, "sub/"));
  OK(open_at(dir, 0, "sub", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &fd));
  IS(count_entries(fd, 256, NULL) == 2);
  OK(__wasi_fd_filestat_get(fd, &stat));
  uint8_t buffer[256];
  __wasi_size_t used;
  OK(__wasi_fd_readdir(fd, buffer, sizeof buffer, 0, &used));
  __wasi_dirent_t entry;
  memcpy(&entry, buffer, sizeof entry);
  IS(entry.d_namlen == 1 && buffer[24] == '.' && entry.d_ino == stat.ino);
  IS(entry.d_type == __WASI_FILETYPE_DIRECTORY);
  make_file(fd, "one");
  OK(__wasi_path_filestat_get(fd, 0, "one", &entry_stat));
  uint64_t cookie = 0;
  IS(count_entries(fd, 256, &cookie) == 3);
  OK(__wasi_fd_readdir(fd, buffer, sizeof buffer, cookie, &used));
  memcpy(&entry, buffer, sizeof entry);
  IS(used == sizeof entry + entry.d_namlen);
  OK(__wasi_path_unlink_file(fd, "one"));
  char name[32];
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "file.%d", i);
    make_file(fd, name);
  }
  IS(count_entries(fd, 256, NULL) == 302);
  IS(count_entries(fd, 100, NULL) == 302);
  NO1(NOTEMPTY, __wasi_path_remove_directory(dir, "sub"));
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "file.%d", i);
    OK(__wasi_path_unlink_file(fd, name));
  }
  char bytes[8];
  __wasi_filesize_t at;
  __wasi_size_t done;
  __wasi_iovec_t in = {(uint8_t *)bytes, 8};
  __wasi_ciovec_t out = {(uint8_t *)bytes, 8};
  NO3(ISDIR, BADF, NOTCAPABLE, -get(fd, bytes, 8));
  NO3(ISDIR, BADF, NOTCAPABLE, -put(fd, bytes, 8));
  NO3(ISDIR, BADF, NOTCAPABLE, __wasi_fd_pread(fd, &in, 1, 0, &done));
  NO3(ISDIR, BADF, NOTCAPABLE, __wasi_fd_pwrite(fd, &out, 1, 0, &done));
  NO3(ISDIR, BADF, NOTCAPABLE, __wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &at));
  NO3(ISDIR, BADF, NOTCAPABLE, __wasi_fd_tell(fd, &at));
  NO3(ISDIR, BADF, NOTCAPABLE, __wasi_fd_allocate(fd, 0, 1));
  NO3(INVAL, BADF, NOTCAPABLE, __wasi_fd_filestat_set_size(fd, 0));
  OK(__wasi_fd_close(fd));
  OK(open_at(dir, 0, "sub", __WASI_OFLAGS_DIRECTORY, R(FD_SEEK), 0, &fd));
  __wasi_fdstat_t fdstat;
  OK(__wasi_fd_fdstat_get(fd, &fdstat));
  IS((fdstat.fs_rights_base & R(FD_SEEK)) == 0);
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_remove_directory(dir, "sub/"));
  NO1(NOENT, __wasi_path_remove_directory(dir, "sub"));
  make_file(dir, "file");
  NO1(NOTDIR, __wasi_path_remove_directory(dir, "file"));
  NO1(NOTDIR, __wasi_path_remove_directory(dir, "file/"));
  NO2(NOTDIR, NOENT, __wasi_path_unlink_file(dir, "file/"));
  NO2(NOTDIR, NOTCAPABLE, open_at(dir, 0, "file/below", __WASI_OFLAGS_CREAT, 0, 0, &fd));
  NO1(NOTDIR, open_at(dir, 0, "file", __WASI_OFLAGS_DIRECTORY, 0, 0, &fd));
  __wasi_fd_t file;
  OK(open_at(dir, 0, "file", 0, 0, 0, &file));
  NO2(NOTDIR, NOTCAPABLE, open_at(file, 0, "below", __WASI_OFLAGS_CREAT, 0, 0, &fd));
  OK(__wasi_fd_close(file));
  OK(__wasi_path_unlink_file(dir, "file"));
  OK(__wasi_path_create_directory(dir, "sub"));
  NO2(ISDIR, PERM, __wasi_path_unlink_file(dir, "sub"));
  NO2(ISDIR, PERM, __wasi_path_unlink_file(dir, "sub/"));
  OK(__wasi_path_remove_directory(dir, "sub"));
}

static void paths(int dir) {
  __wasi_fd_t fd;
  OK(__wasi_path_create_directory(dir, "a"));
  OK(__wasi_path_create_directory(dir, "a/b"));
  make_file(dir, "a/b/file");
  NO2(PERM, NOTCAPABLE, open_at(dir, 0, "/a/b/file", 0, 0, 0, &fd));
  OK(open_at(dir, 0, "a/.//b/../../a/b/../b///./file", 0, 0, 0, &fd));
  OK(__wasi_fd_close(fd));
  NO2(NOTDIR, NOENT, open_at(dir, 0, "a/b/file/", 0, 0, 0, &fd));
  NO2(NOTDIR, NOENT, open_at(dir, 0, "a/b/file///", 0, 0, 0, &fd));
  OK(open_at(dir, 0, "a/b///", 0, 0, 0, &fd));
  OK(__wasi_fd_close(fd));
  NO2(PERM, NOTCAPABLE, open_at(dir, 0, "a/b/../../../results/a/b/file", 0, 0, 0, &fd));
  NO2(PERM, NOTCAPABLE, open_at(dir, 0, "..", 0, 0, 0, &fd));
  NO1(NOENT, open_at(dir, 0, "", 0, 0, 0, &fd));
  char longest[5000];
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  NO1(NAMETOOLONG, open_at(dir, 0, longest, __WASI_OFLAGS_CREAT, 0, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "a/b/file"));
  OK(__wasi_path_remove_directory(dir, "a/b"));
  OK(__wasi_path_remove_directory(dir, "a"));
}

static void links(int dir) {
  __wasi_fd_t fd;
  __wasi_filestat_t stat, other;
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  OK(__wasi_path_create_directory(dir, "sub"));
  OK(__wasi_path_link(dir, 0, "file", dir, "sub/name"));
  OK(__wasi_fd_filestat_get(fd, &stat));
  OK(__wasi_path_filestat_get(dir, 0, "sub/name", &other));
  IS(stat.ino == other.ino && stat.nlink == 2 && other.nlink == 2 && stat.dev == other.dev);
  OK(__wasi_path_unlink_file(dir, "sub/name"));
  NO1(EXIST, __wasi_path_link(dir, 0, "file", dir, "file"));
  NO1(EXIST, __wasi_path_link(dir, 0, "file", dir, "sub"));
  NO2(PERM, ACCES, __wasi_path_link(dir, 0, "sub", dir, "name"));
  NO1(NOENT, __wasi_path_link(dir, 0, "file", dir, "name/"));
  NO1(NOENT, __wasi_path_link(dir, 0, "missing", dir, "name"));
  OK(__wasi_path_symlink("target", dir, "link"));
  NO1(EXIST, __wasi_path_link(dir, 0, "file", dir, "link"));
  NO2(INVAL, NOENT, __wasi_path_link(dir, 1, "link", dir, "name"));
  OK(__wasi_path_link(dir, 0, "link", dir, "name"));
  uint8_t text[10] = {0};
  __wasi_size_t used;
  OK(__wasi_path_readlink(dir, "name", text, sizeof text, &used));
  IS(used == 6 && memcmp(text, "target\0\0\0", 10) == 0);
  OK(__wasi_path_readlink(dir, "link", text, 4, &used));
  IS(used == 4);
  NO1(INVAL, __wasi_path_readlink(dir, "file", text, sizeof text, &used));
  OK(__wasi_path_unlink_file(dir, "name"));
  OK(__wasi_path_unlink_file(dir, "link"));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "file"));
  OK(__wasi_path_remove_directory(dir, "sub"));

  OK(__wasi_path_symlink("loop", dir, "loop"));
  NO1(LOOP, open_at(dir, 0, "loop", 0, 0, 0, &fd));
  NO1(LOOP, open_at(dir, 1, "loop", 0, 0, 0, &fd));
  NO1(LOOP, open_at(dir, 1, "loop/below", 0, 0, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "loop"));

  OK(__wasi_path_symlink("target", dir, "link"));
  NO2(NOTDIR, LOOP, open_at(dir, 0, "link", __WASI_OFLAGS_DIRECTORY, 0, 0, &fd));
  NO1(LOOP, open_at(dir, 0, "link", 0, 0, 0, &fd));
  NO1(NOENT, open_at(dir, 1, "link", 0, 0, 0, &fd));
  OK(open_at(dir, 1, "link", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "target"));
  OK(__wasi_path_create_directory(dir, "target"));
  NO2(NOTDIR, LOOP, open_at(dir, 0, "link", __WASI_OFLAGS_DIRECTORY, 0, 0, &fd));
  NO2(LOOP, ACCES, open_at(dir, 0, "link", 0, 0, 0, &fd));
  OK(open_at(dir, 1, "link", __WASI_OFLAGS_DIRECTORY, 0, 0, &fd));
  OK(__wasi_fd_close(fd));
  make_file(dir, "link/below");
  OK(__wasi_path_filestat_get(dir, 1, "link", &stat));
  IS(stat.filetype == __WASI_FILETYPE_DIRECTORY);
  OK(__wasi_path_filestat_get(dir, 0, "link/below", &stat));
  OK(__wasi_path_unlink_file(dir, "target/below"));
  OK(__wasi_path_remove_directory(dir, "target"));
  OK(__wasi_path_unlink_file(dir, "link"));

  IS(__wasi_path_symlink("/", dir, "link") != 0);
  IS(__wasi_path_symlink("/etc/passwd", dir, "link") != 0);
  NO1(NOENT, __wasi_path_symlink("source", dir, "link/"));
  OK(__wasi_path_create_directory(dir, "link"));
  NO1(EXIST, __wasi_path_symlink("source", dir, "link/"));
  NO1(EXIST, __wasi_path_symlink("source", dir, "link"));
  OK(__wasi_path_remove_directory(dir, "link"));
  make_file(dir, "link");
  NO2(NOTDIR, EXIST, __wasi_path_symlink("source", dir, "link/"));
  NO1(EXIST, __wasi_path_symlink("source", dir, "link"));
  OK(__wasi_path_unlink_file(dir, "link"));
  OK(__wasi_path_symlink("../../..", dir, "up"));
  NO2(PERM, NOTCAPABLE, open_at(dir, 1, "up", 0, 0, 0, &fd));
  NO2(PERM, NOTCAPABLE, open_at(dir, 1, "up/etc/passwd", 0, 0, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "up"));
}

static void renaming(int dir) {
  __wasi_fd_t fd, held;
  __wasi_filestat_t stat, before;
  OK(__wasi_path_create_directory(dir, "source"));
  OK(open_at(dir, 0, "source", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &held));
  OK(__wasi_path_symlink("kept", held, "link"));
  OK(__wasi_path_rename(dir, "source", dir, "target"));
  NO1(NOENT, open_at(dir, 0, "source", __WASI_OFLAGS_DIRECTORY, 0, 0, &fd));
  make_file(held, "late");
  OK(__wasi_path_filestat_get(dir, 0, "target/late", &stat));
  OK(__wasi_path_filestat_get(dir, 0, "target/link", &stat));
  IS(stat.filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  OK(__wasi_path_unlink_file(held, "late"));
  NO1(NOTEMPTY, __wasi_path_remove_directory(dir, "target"));
  OK(__wasi_path_unlink_file(held, "link"));
  OK(__wasi_fd_close(held));
  OK(__wasi_path_create_directory(dir, "source"));
  OK(__wasi_path_rename(dir, "source", dir, "target"));
  OK(__wasi_path_create_directory(dir, "source"));
  make_file(dir, "target/file");
  NO1(NOTEMPTY, __wasi_path_rename(dir, "source", dir, "target"));
  NO1(NOTDIR, __wasi_path_rename(dir, "source", dir, "target/file"));
  NO2(INVAL, NOTEMPTY, __wasi_path_rename(dir, "target", dir, "target/below"));
  OK(__wasi_path_unlink_file(dir, "target/file"));
  OK(__wasi_path_remove_directory(dir, "target"));
  OK(__wasi_path_rename(dir, "source/", dir, "target"));
  OK(__wasi_path_rename(dir, "target", dir, "source/"));
  OK(__wasi_path_rename(dir, "source/", dir, "target/"));
  OK(__wasi_path_remove_directory(dir, "target"));
  make_file(dir, "source");
  OK(__wasi_path_filestat_get(dir, 0, "source", &before));
  OK(__wasi_path_rename(dir, "source", dir, "target"));
  OK(__wasi_path_filestat_get(dir, 0, "target", &stat));
  IS(stat.ino == before.ino);
  make_file(dir, "source");
  OK(__wasi_path_rename(dir, "source", dir, "target"));
  NO1(NOENT, open_at(dir, 0, "source", 0, 0, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "target"));
  make_file(dir, "source");
  OK(__wasi_path_create_directory(dir, "target"));
  NO1(ISDIR, __wasi_path_rename(dir, "source", dir, "target"));
  OK(__wasi_path_remove_directory(dir, "target"));
  OK(__wasi_path_symlink("source", dir, "link"));
  OK(__wasi_path_rename(dir, "link", dir, "moved"));
  OK(__wasi_path_filestat_get(dir, 0, "moved", &stat));
  IS(stat.filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  NO1(NOENT, __wasi_path_filestat_get(dir, 0, "link", &stat));
  OK(__wasi_path_rename(dir, "source", dir, "moved"));
  OK(__wasi_path_filestat_get(dir, 0, "moved", &stat));
  IS(stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
  OK(__wasi_path_unlink_file(dir, "moved"));
}

static void dangling(int dir) {
  __wasi_fd_t fd;
  char byte;
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  OK(__wasi_path_unlink_file(dir, "file"));
  IS(put(fd, "x", 1) == 1);
  make_file(dir, "file");
  __wasi_filesize_t at;
  OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  IS(get(fd, &byte, 1) == 1);
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "file"));
  OK(__wasi_path_create_directory(dir, "sub"));
  OK(open_at(dir, 0, "sub", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &fd));
  OK(__wasi_path_remove_directory(dir, "sub"));
  OK(__wasi_path_create_directory(dir, "sub"));
  __wasi_fd_t other;
  IS(open_at(fd, 0, "below", __WASI_OFLAGS_CREAT, RW, 0, &other) != 0);
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_remove_directory(dir, "sub"));
}

static void polling(int dir) {
  __wasi_event_t events[3];
  __wasi_size_t count = 0;
  __wasi_timestamp_t before, after;
  __wasi_subscription_t clock = {.userdata = 7, .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = 20000000}}};
  OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &before));
  OK(__wasi_poll_oneoff(&clock, events, 1, &count));
  OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &after));
  IS(count == 1 && events[0].userdata == 7 && events[0].type == __WASI_EVENTTYPE_CLOCK);
  IS(events[0].error == 0 && after - before >= 20000000);
  clock.u.u.clock.timeout = after;
  clock.u.u.clock.flags = __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
  OK(__wasi_poll_oneoff(&clock, events, 1, &count));
  IS(count == 1);
  clock.u.u.clock.flags = 0;
  clock.u.u.clock.timeout = 100000000000;
  __wasi_subscription_t subs[3] = {clock, clock, clock};
  for (int i = 1; i < 3; i++) {
    subs[i].userdata = i;
    subs[i].u.tag = __WASI_EVENTTYPE_FD_WRITE;
    subs[i].u.u.fd_write.file_descriptor = i;
  }
  OK(__wasi_poll_oneoff(subs, events, 3, &count));
  IS(count >= 1 && events[0].type == __WASI_EVENTTYPE_FD_WRITE && events[0].error == 0);
  __wasi_fd_t fd;
  OK(open_at(dir, 0, "file", __WASI_OFLAGS_CREAT, RW, 0, &fd));
  IS(put(fd, "12345", 5) == 5);
  __wasi_filesize_t at;
  OK(__wasi_fd_seek(fd, 2, __WASI_WHENCE_SET, &at));
  subs[0].userdata = 9;
  subs[0].u.tag = __WASI_EVENTTYPE_FD_READ;
  subs[0].u.u.fd_read.file_descriptor = fd;
  OK(__wasi_poll_oneoff(subs, events, 1, &count));
  IS(count == 1 && events[0].userdata == 9 && events[0].error == 0);
  subs[0].u.u.fd_read.file_descriptor = 999;
  int e = __wasi_poll_oneoff(subs, events, 1, &count);
  IS(e == __WASI_ERRNO_BADF || (e == 0 && events[0].error == __WASI_ERRNO_BADF));
  NO1(INVAL, __wasi_poll_oneoff(subs, events, 0, &count));
  OK(__wasi_fd_close(fd));
  OK(__wasi_path_unlink_file(dir, "file"));
}

static void renumbering(int dir) {
  __wasi_fd_t from, to;
  __wasi_filestat_t stat, after;
  OK(open_at(dir, 0, "one", __WASI_OFLAGS_CREAT, RW, 0, &from));
  OK(open_at(dir, 0, "two", __WASI_OFLAGS_CREAT, RW, 0, &to));
  OK(__wasi_fd_filestat_get(from, &stat));
  OK(__wasi_fd_renumber(from, to));
  NO1(BADF, __wasi_fd_close(from));
  OK(__wasi_fd_filestat_get(to, &after));
  IS(stat.ino == after.ino);
  NO1(BADF, __wasi_fd_renumber(to, from));
  NO1(BADF, __wasi_fd_renumber(999, to));
  OK(__wasi_fd_close(to));
  OK(__wasi_path_unlink_file(dir, "one"));
  OK(__wasi_path_unlink_file(dir, "two"));
  // Standard input becomes a file, and its number is free.
  make_file(dir, "in");
  OK(open_at(dir, 0, "in", 0, R(FD_READ), 0, &to));
  OK(__wasi_fd_renumber(0, to));
  __wasi_fdstat_t fdstat;
  OK(__wasi_fd_fdstat_get(to, &fdstat));
  NO1(BADF, __wasi_fd_fdstat_get(0, &fdstat));
  OK(__wasi_fd_close(to));
  OK(__wasi_path_unlink_file(dir, "in"));
}

static void preopen_is_closed(int root, int dir) {
  __wasi_fd_t copy;
  __wasi_filestat_t stat, after;
  __wasi_prestat_t prestat;
  OK(open_at(root, 0, ".", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &copy));
  OK(__wasi_fd_filestat_get(copy, &stat));
  OK(__wasi_fd_renumber(copy, root));
  OK(__wasi_fd_filestat_get(root, &after));
  IS(stat.ino == after.ino && stat.dev == after.dev);
  NO1(BADF, __wasi_fd_fdstat_get(copy, &(__wasi_fdstat_t){0}));
  OK(__wasi_fd_close(root));
  NO1(BADF, __wasi_fd_prestat_get(root, &prestat));
  OK(__wasi_fd_filestat_get(dir, &after));
}

int main(void) {
  const int root = 3;
  __wasi_fd_t results;
  part = "opening results";
  OK(open_at(root, 0, "results", __WASI_OFLAGS_DIRECTORY, DIRS, 0, &results));
#define RUN(name, ...) part = #name; name(__VA_ARGS__)
  RUN(args_and_environment);
  RUN(clocks_and_chance);
  RUN(streams);
  RUN(preopens, root);
  RUN(reading_and_writing, results);
  RUN(appending, results);
  RUN(times, results);
  RUN(rights, results);
  RUN(directories, results);
  RUN(paths, results);
  RUN(links, results);
  RUN(renaming, results);
  RUN(dangling, results);
  RUN(polling, results);
  RUN(renumbering, results);
  part = "leaving nothing";
  IS(count_entries(results, 4096, NULL) == 2);
  RUN(preopen_is_closed, root, results);
  printf("%d checks, %d findings\n", checks, found);
  fflush(stdout);
  __wasi_proc_exit(found > 100 ? 100 : found);
}
