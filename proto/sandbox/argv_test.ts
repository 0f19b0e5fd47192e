import assert from "node:assert/strict";
import { sandboxArgv, type SandboxSpec } from "./argv.ts";

const SPEC: SandboxSpec = {
  program: "/cocos/algo",
  args: ["--epochs", "5", "--bind", "/ /"],
  binds: [
    { source: "/w/job-0123456789abcdef/algo", target: "/cocos/algo", writable: false },
    { source: "/w/job-0123456789abcdef/datasets", target: "/cocos/datasets", writable: false },
    { source: "/w/job-0123456789abcdef/results", target: "/cocos/results", writable: true },
  ],
  cwd: "/cocos",
  tmpBytes: 1048576,
};

const GOLDEN = `
--unshare-all --unshare-user --disable-userns --uid 1000 --gid 1000
--die-with-parent --new-session --cap-drop ALL --hostname cocos
--clearenv --setenv HOME /tmp --setenv LANG C.UTF-8 --setenv PATH /usr/bin:/bin --setenv TMPDIR /tmp
--ro-bind /usr /usr
--symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib --symlink usr/lib64 /lib64
--proc /proc --ro-bind /proc/sys /proc/sys
--dev /dev --size 1048576 --tmpfs /dev/shm --remount-ro /dev
--size 1048576 --tmpfs /tmp
--ro-bind-try /etc/ld.so.cache /etc/ld.so.cache
--ro-bind-try /etc/alternatives /etc/alternatives
--ro-bind-data 7 /etc/passwd --ro-bind-data 8 /etc/group --ro-bind-data 9 /etc/nsswitch.conf
--dir /cocos
--ro-bind /w/job-0123456789abcdef/algo /cocos/algo
--ro-bind /w/job-0123456789abcdef/datasets /cocos/datasets
--bind /w/job-0123456789abcdef/results /cocos/results
--remount-ro / --chdir /cocos
--seccomp 3 --block-fd 4 --json-status-fd 5 --sync-fd 6
--
`.trim().split(/\s+/);

Deno.test("sandboxArgv() gives this command line; arguments that look like flags come after --", () => {
  assert.deepEqual(sandboxArgv(SPEC), [...GOLDEN, "/cocos/algo", ...SPEC.args]);
});

Deno.test("sandboxArgv() S-3 takes no path that climbs, is relative or holds a NUL", () => {
  for (const bad of ["w", "", "/w/../etc", "/w/./x", "/w//x", "/..", "/w\0x"]) {
    assert.throws(
      () => sandboxArgv({ ...SPEC, binds: [{ source: bad, target: "/t", writable: true }] }),
      RangeError,
      JSON.stringify(bad),
    );
    assert.throws(() => sandboxArgv({ ...SPEC, cwd: bad }), RangeError);
    assert.throws(() => sandboxArgv({ ...SPEC, program: bad }), RangeError);
  }
});
