// The Go Cocos programs, when somebody has them: COCOS_PEERS names their folder. They are copied to
// one place that the tests' permission lists name; nothing of them is fetched or built here.
const root = new URL("../", import.meta.url).pathname;

/** Programs of the Go side. */
export const PEERS = ["cocos-cli", "cocos-agent", "cocos-manager", "cvms"] as const;

/** The folder with all of them, or why there is none. */
export async function bringPeers(): Promise<{ folder: string } | { missing: string }> {
  const given = Deno.env.get("COCOS_PEERS") ?? "";
  if (given === "") {
    return {
      missing: `COCOS_PEERS is not set (a folder with the Go programs ${PEERS.join(", ")})`,
    };
  }
  const folder = `${root}.cache/peers`;
  await Deno.mkdir(folder, { recursive: true });
  const { success, stderr } = await new Deno.Command("cp", {
    args: ["-L", "--", ...PEERS.map((name) => `${given}/${name}`), folder],
    stdin: "null",
  }).output();
  if (!success) {
    return { missing: `COCOS_PEERS lacks a program: ${new TextDecoder().decode(stderr).trim()}` };
  }
  return { folder };
}
