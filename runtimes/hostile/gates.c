/* Enters the kernel through the other two gates of x86-64: the 32-bit one and x32's numbers. Both must
   end the process by SIGSYS; an exit code says which one answered. */
#include <unistd.h>
#include <sys/syscall.h>

int main(int count, char **arguments) {
  if (count > 1 && arguments[1][0] == 'x') {
    if (syscall(0x40000000L + SYS_getpid) > 0) return 3;
    return 4;
  }
  long answer;
  __asm__ volatile("int $0x80" : "=a"(answer) : "a"(20L) : "memory");
  return answer > 0 ? 5 : 6;
}
