// Kills a process by its number where no cgroup.kill exists. Deno under a lock can only signal its own
// children; a bubblewrap that shares the process namespace can signal any process of this uid.
import { spawn } from "node:child_process";
import { CocosError } from "../../base/mod.ts";

/** Sends SIGKILL to processes of this user; one that is gone already is no error. */
export async function killProcesses(bwrap: string, pids: readonly number[]): Promise<void> {
  if (!pids.every((pid) => Number.isInteger(pid) && pid > 1)) {
    throw new CocosError("internal", `Cannot kill ${pids.join(" ")}: not process numbers`);
  }
  // deno-fmt-ignore
  const argv = [
    "--die-with-parent", "--clearenv", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr",
    "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
    "--", "/bin/sh", "-c", "kill -9 \"$@\"", "sh", ...pids.map(String),
  ];
  const child = spawn(bwrap, argv, { stdio: "ignore", env: {}, cwd: "/" });
  await new Promise<void>((resolve, reject) => {
    child.once("error", (cause) => {
      reject(new CocosError("internal", "Cannot kill what is left of a run", { cause }));
    });
    child.once("exit", () => resolve());
  });
}
