// A container engine of a test's own: the distribution's dockerd on a private socket, with a store that
// goes with it.
import { House } from "./_house.ts";

/** The runner's group may use the socket of the folder `$1`. */
const START = `
exec dockerd --host "unix://$1/engine.sock" --group 62000 --data-root "$1/data" \\
  --exec-root "$1/exec" --pidfile "$1/pid" --bridge=none --iptables=false --ip-forward=false
`;

/** A running engine. */
export interface Engine extends AsyncDisposable {
  readonly socket: string;
  /** Packs an image of a script, the example's if none is named; answers its path. */
  pack(path: string, script?: string): Promise<string>;
  /** Containers and images it has. */
  left(): Promise<string>;
}

/** Starts one; a sentence says why it can't be started here. */
export async function startEngine(house: House): Promise<Engine | string> {
  if (Deno.uid() !== 0) return "dockerd needs root";
  const found = await house.runAt("sh", ["-euc", "command -v dockerd docker busybox"]);
  if (found.code !== 0) return "no docker.io or busybox-static here (bin/prepare test)";
  const sh = async (line: string, ...args: string[]) => {
    const { code, stdout, stderr } = await house.runAt("sh", ["-euc", line, "sh", ...args]);
    if (code !== 0) throw new Error(`${line}: ${stderr}`);
    return stdout.trim();
  };
  const folder = await sh(
    "folder=$(mktemp -d /tmp/cocos-engine.XXXXXX); chmod 755 $folder; echo $folder",
  );
  const socket = `${folder}/engine.sock`;
  const dockerd = house.startAt("dockerd", "sh", ["-euc", START, "sh", folder]);
  await dockerd.until((line) => line.includes("API listen on"), "its socket");
  const withEngine = `DOCKER_HOST="unix://${socket}"; export DOCKER_HOST; `;
  return {
    socket,
    pack: async (path, script) => {
      await sh(
        `${withEngine} exec "$@"`,
        House.path("examples/container/pack.sh"),
        path,
        ...(script === undefined ? [] : [script]),
      );
      return path;
    },
    left: () => sh(`${withEngine} docker ps -aq; docker images -aq`),
    [Symbol.asyncDispose]: async () => {
      await dockerd.stop();
      await sh('rm -rf "$1"', folder);
    },
  };
}
