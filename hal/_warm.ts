// Deno's code caches for the guest, made by starting each program once in a sandbox that looks like
// the guest: same paths, same flags. It saves the guest about a second and a half of compiling.
import { DatabaseSync } from "node:sqlite";
import { commandLine, type Program } from "./_bundle.ts";
import { run } from "./_run.ts";
import type { Stage } from "./_stage.ts";

/** Long enough for a start on a busy machine; the program is then told to end. */
const START_SECONDS = 4;

/**
 * Starts a program of the guest and keeps the caches it leaves in `into`.
 *
 * The sandbox has no network; the program sees the guest's folders, empty. What it prints does not
 * matter, only what Deno compiled until then.
 */
export async function warm(
  { root, linker }: Stage,
  program: Program,
  bundles: string,
  environment: string,
  into: string,
): Promise<void> {
  await Deno.mkdir(into, { recursive: true });
  const { name } = program;
  const grant = "10.0.2.2:7001";
  const words = commandLine(program).map((word) =>
    word.startsWith("--allow-net=") ? `${word},${grant}` : word
  );
  await run(linker, [
    ...["--library-path", `${root}/usr/lib/x86_64-linux-gnu`, `${root}/cocos/bin/bwrap`],
    ...["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"],
    ...["--ro-bind", `${root}/usr`, "/usr", "--ro-bind", `${root}/cocos/bin`, "/cocos/bin"],
    ...["--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"],
    ...["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"],
    ...["--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/cocos/work"],
    ...["--dir", "/run/cocos/agent", "--dir", "/run/cocos/certs", "--dir", "/run/cocos/evidence"],
    ...["--dir", "/run/cocos/cgroup/cocos", "--ro-bind", environment],
    ...["/run/cocos/agent/environment", "--ro-bind", `${bundles}/${name}.js`, `/cocos/${name}.js`],
    ...["--bind", into, `/run/cocos/deno/${name}`, "--setenv", "HOME", "/tmp"],
    ...["--setenv", "PATH", "/usr/bin", "--setenv", "DENO_DIR", `/run/cocos/deno/${name}`],
    ...["--setenv", "DENO_NO_UPDATE_CHECK", "1", "/usr/bin/busybox", "sh", "-c"],
    // The program ends as it likes; that it was stopped is no failure.
    ...['busybox timeout -s INT "$@" || true', "warm", String(START_SECONDS)],
    ...["/cocos/bin/deno", "run", ...words],
  ], { clearEnv: true });
  for (const junk of ["npm", "node_compat_bin", "gen", "remote", "deps", "dl"]) {
    await Deno.remove(`${into}/${junk}`, { recursive: true }).catch(() => {});
  }
  for await (const { name: file } of Deno.readDir(into)) {
    if (!/_cache_v\d+$/.test(file)) continue;
    compact(`${into}/${file}`);
  }
  const rest = (await Array.fromAsync(Deno.readDir(into))).filter(({ name: file }) =>
    /-(wal|shm|journal)$/.test(file)
  );
  for (const { name: file } of rest) await Deno.remove(`${into}/${file}`);
}

/** The same rows always give the same file: no journal, no free pages, no trace of the order. */
function compact(path: string): void {
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.exec("PRAGMA journal_mode=DELETE");
  database.exec("VACUUM");
  database.close();
}
