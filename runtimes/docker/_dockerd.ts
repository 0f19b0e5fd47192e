// For tests: the distribution's dockerd on a socket and with a store of its own, in a user namespace
// map as the image has it, and images as `docker save` writes them.
import { AS_ROOT } from "../_harness.ts";

/** Fixed, because a permission list names the sockets. */
export const PLACE = "/tmp/cocos-runtimes-docker";
/** The engine's socket. */
export const ENGINE = `${PLACE}/engine.sock`;
/** The user whose map of ids is used; ids 0 to 999 go nowhere, 1000 is the runner's (bin/cocos-runner). */
const MAP_USER = "daemon";

/** Why the engine can't be started here; undefined if it can. */
export async function whyNot(): Promise<string | undefined> {
  if (!AS_ROOT) return "dockerd needs root";
  const { success } = await sh("command -v dockerd containerd runc docker busybox tar");
  return success ? undefined : "dockerd, runc or busybox is not installed (bin/prepare test)";
}

/** Runs a shell line; its output is text. */
export async function sh(
  line: string,
  ...args: string[]
): Promise<{ success: boolean; stdout: string; stderr: string }> {
  const { success, stdout, stderr } = await new Deno.Command("/bin/sh", {
    args: ["-eu", "-c", line, "sh", ...args],
    env: { DOCKER_HOST: `unix://${ENGINE}` },
  }).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a shell line that must succeed; its output. */
export async function must(line: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await sh(line, ...args);
  if (!success) throw new Error(`${line}: ${stderr}`);
  return stdout;
}

/** An engine that runs. */
export interface Dockerd extends AsyncDisposable {
  /** Kills dockerd alone, as a crash does; its containers stay. */
  crash(): Promise<void>;
  /** Starts it again. */
  restart(): Promise<void>;
}

/** Whether ids inside a container are others outside. */
export type IdMap = "mapped" | "plain";

/** Starts the engine and waits until it answers. */
export async function startDockerd(ids: IdMap, ...flags: string[]): Promise<Dockerd> {
  // One at a time, whoever tests on this machine.
  const lock = await Deno.open(`${PLACE}.lock`, { read: true, write: true, create: true });
  await lock.lock(true);
  await Deno.mkdir(PLACE, { recursive: true });
  await Deno.chmod(PLACE, 0o755);
  await Deno.writeTextFile(`${PLACE}/subuid`, `${MAP_USER}:100000:1000\n${MAP_USER}:61001:1\n`);
  await Deno.writeTextFile(`${PLACE}/subgid`, `${MAP_USER}:100000:1000\n${MAP_USER}:62000:1\n`);
  let process = await start(ids, flags);
  return {
    async crash() {
      process.kill("SIGKILL");
      await process.status;
    },
    async restart() {
      // Its containerd died with it; where nobody reaps, the next dockerd takes that for alive.
      await must(`rm -f ${PLACE}/exec/containerd/containerd.pid`);
      process = await start(ids, flags);
    },
    async [Symbol.asyncDispose]() {
      try {
        process.kill("SIGTERM");
      } catch {
        // Ended by a test.
      }
      await process.status;
      // What containerd leaves mounted would keep the folder.
      await sh(`grep -o " ${PLACE}/[^ ]*" /proc/mounts | sort -r | xargs -r -n 1 umount -l`);
      await Deno.remove(PLACE, { recursive: true });
      lock.close();
    },
  };
}

async function start(ids: IdMap, flags: readonly string[]): Promise<Deno.ChildProcess> {
  // The map is shown to this dockerd alone.
  const line = `
for name in subuid subgid; do
  [ -e "/etc/$name" ] || : >"/etc/$name"
  mount --bind "${PLACE}/$name" "/etc/$name"
done
# As the image's engine: a container's processes can't give themselves another audit label then.
echo 0 >/proc/self/loginuid 2>/dev/null || :
exec dockerd "$@" >>${PLACE}/log 2>&1`;
  const process = new Deno.Command("/bin/sh", {
    // deno-fmt-ignore
    args: [
      "-c", 'exec unshare --mount --propagation private sh -eu -c "$@"', "sh", line, "sh",
      "--data-root", `${PLACE}/data`, "--exec-root", `${PLACE}/exec`, "--pidfile", `${PLACE}/pid`,
      "--host", `unix://${ENGINE}`, "--group", "62000", "--bridge=none", "--iptables=false",
      "--ip-forward=false", ...(ids === "mapped" ? ["--userns-remap", MAP_USER] : []), ...flags,
    ],
    env: { DOCKER_RAMDISK: "true" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let over = false;
  process.status.then(() => over = true);
  while (!(await sh("docker version")).success) {
    if (over) throw new Error(`dockerd ended: ${await must(`tail -n 1 ${PLACE}/log`)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return process;
}

/** The image of a folder of files, as `docker import` and `docker save` make it. */
export async function imageOf(
  files: Readonly<Record<string, string>>,
  ...changes: string[]
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ dir: PLACE });
  const name = `test-${crypto.randomUUID()}`;
  await Deno.mkdir(`${folder}/root/bin`, { recursive: true });
  await must(
    'cp "$(command -v busybox)" "$1/root/bin/busybox"; ln -s busybox "$1/root/bin/sh"',
    folder,
  );
  for (const [path, content] of Object.entries(files)) {
    const at = `${folder}/root/${path}`;
    await Deno.mkdir(at.slice(0, at.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(at, content);
    await Deno.chmod(at, 0o755);
  }
  await must(
    'folder=$1 name=$2; shift 2; tar -C "$folder/root" -c . | docker import "$@" - "$name" >/dev/null\n' +
      'docker save -o "$folder/image.tar" "$name"; docker image rm "$name" >/dev/null',
    ...[folder, name],
    ...changes.flatMap((change) => ["--change", change]),
  );
  const bytes = await Deno.readFile(`${folder}/image.tar`);
  await Deno.remove(folder, { recursive: true });
  return bytes;
}
