// Deno's code caches for the guest, made by starting each program once in a sandbox that looks like
// the guest: same paths, same flags. It saves the guest about a second and a half of compiling.
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../base/mod.ts";
import { commandLine, type Program } from "./_bundle.ts";
import { run } from "./_run.ts";
import type { Stage } from "./_stage.ts";

/** Long enough for a start on a busy machine; the program is then told to end. */
const START_SECONDS = 4;

/** The sandbox's arguments up to what is special to one program. */
function sandbox({ root }: Stage): string[] {
  return [
    ...["--library-path", `${root}/usr/lib/x86_64-linux-gnu`, `${root}/cocos/bin/bwrap`],
    ...["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"],
    ...["--ro-bind", `${root}/usr`, "/usr", "--ro-bind", `${root}/cocos/bin`, "/cocos/bin"],
    ...["--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"],
    ...["--symlink", "usr/lib/x86_64-linux-gnu", "/lib64", "--proc", "/proc", "--dev", "/dev"],
  ];
}

/** Why this machine does not let us make a sandbox, or undefined where it does. */
export async function sandboxRefusal(stage: Stage): Promise<string | undefined> {
  try {
    await run(stage.linker, [...sandbox(stage), "/usr/bin/busybox", "true"], { clearEnv: true });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Starts a program of the guest and keeps the caches it leaves in `into`.
 *
 * The sandbox has no network; the program sees the guest's folders, empty. What it prints does not
 * matter, only what Deno compiled until then.
 */
export async function warm(
  stage: Stage,
  program: Program,
  bundles: string,
  environment: string,
  into: string,
): Promise<void> {
  const { linker } = stage;
  const { name } = program;
  const grant = "10.0.2.2:7001";
  const words = commandLine(program, program.warmArgs).map((word) =>
    word.startsWith("--allow-net=") ? `${word},${grant}` : word
  );
  await run(linker, [
    ...sandbox(stage),
    ...["--uid", String(program.uid), "--gid", String(program.uid)],
    ...["--tmpfs", "/tmp", "--tmpfs", "/run", "--perms", "2770", "--tmpfs", "/cocos/work"],
    ...["--dir", "/run/cocos/agent", "--dir", "/etc/certs", "--dir", "/run/cocos/evidence"],
    ...["--dir", "/run/cocos/cgroup/cocos", "--ro-bind", environment],
    ...["/run/cocos/agent/environment", "--ro-bind", `${bundles}/${name}.js`, `/cocos/${name}.js`],
    ...["--bind", into, `/run/cocos/deno/${name}`, "--setenv", "HOME", "/tmp"],
    ...["--setenv", "PATH", "/usr/bin", "--setenv", "DENO_DIR", `/run/cocos/deno/${name}`],
    ...["--setenv", "DENO_NO_UPDATE_CHECK", "1", "/usr/bin/busybox", "sh", "-c"],
    // The program ends as it likes; that it was stopped is no failure.
    ...['busybox timeout -s INT "$@" || true', "warm", String(START_SECONDS)],
    ...["/cocos/bin/deno", "run", ...words],
  ], { clearEnv: true });
  const files = (await Array.fromAsync(Deno.readDir(into))).map((entry) => entry.name);
  const caches = files.filter((file) => /_cache_v\d+$/.test(file));
  for (const file of caches) await rewrite(`${into}/${file}`);
  for (const file of files.filter((each) => !caches.includes(each))) {
    await Deno.remove(`${into}/${file}`, { recursive: true }).catch(ignoreAbsent);
  }
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/**
 * Writes a database anew, tables and rows in order: the same rows always give the same file, with
 * no journal, no free pages and no trace of the order they came in. (VACUUM attaches a database,
 * which Deno refuses to a process without all rights.)
 */
async function rewrite(path: string): Promise<void> {
  const before = new DatabaseSync(path);
  const after = new DatabaseSync(`${path}.new`);
  const tables = before.prepare(
    "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL ORDER BY name",
  ).all() as { name: string; sql: string }[];
  after.exec("BEGIN");
  for (const { name, sql } of tables) {
    after.exec(sql);
    const select = before.prepare(`SELECT * FROM "${name}" ORDER BY 1, 2`);
    select.setReadBigInts(true);
    for (const row of select.iterate()) {
      const values = Object.values(row as Record<string, string | bigint | Uint8Array>);
      const places = values.map(() => "?").join(", ");
      after.prepare(`INSERT INTO "${name}" VALUES (${places})`).run(...values);
    }
  }
  after.exec("COMMIT");
  after.close();
  before.close();
  for (const suffix of ["-wal", "-shm", "-journal"]) {
    await Deno.remove(`${path}${suffix}`).catch(ignoreAbsent);
  }
  await Deno.rename(`${path}.new`, path);
}
