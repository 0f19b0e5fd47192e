// The main job in the real VM, as the README's one command does it, and what is left behind: also
// when somebody interrupts it. Limits are generous, for the machine may be busy.
import assert from "node:assert/strict";

const root = new URL("../../", import.meta.url).pathname;

/** Processes whose command line names a folder of the demo, or the image (the KVM probe does). */
async function leftProcesses(): Promise<string[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-eo", "pid=,args="] }).output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) =>
    line.includes(`${root}.cache/demo-`) || line.includes(`${root}build/hal/`)
  );
}

/** Folders of the demo that are there. */
function leftFolders(): string[] {
  return [...Deno.readDirSync(`${root}.cache`)].map(({ name }) => name)
    .filter((name) => name.startsWith("demo-") && !name.endsWith(".logs"));
}

/** Starts the demo; `seen` gets everything it has said whenever it says more. */
function demo(seen: (text: string, child: Deno.ChildProcess) => void) {
  const child = new Deno.Command("sh", {
    args: ["bin/_task.sh", "demo", "examples/demo.ts"],
    cwd: root,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    detached: true,
  }).spawn();
  const text = (async () => {
    let said = "";
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += chunk;
      seen(said, child);
    }
    return said;
  })();
  return { child, text };
}

Deno.test("e2e: the demo boots the image, computes with four parties and leaves nothing", async () => {
  const before = leftFolders();
  const { child, text } = demo(() => {});
  const { code } = await child.status;
  const said = await text;
  assert.equal(code, 0, said);
  assert.match(said, /The model is right on 96\.5 % of 114 tumours/);
  assert.match(said, /Virtual machine removed successfully/);
  assert.deepEqual(leftFolders(), before);
  assert.deepEqual(await leftProcesses(), []);
});

/** Where somebody loses patience: in the middle of the KVM probe, and of the VM's boot. */
const POINTS = [
  ["SIGTERM", "while the manager starts", "cocos-manager --remove-vms-on-exit"],
  ["SIGINT", "while the VM boots", "its agent will answer on port"],
] as const;

for (const [signal, when, sign] of POINTS) {
  Deno.test(`e2e: ${signal} ${when} stops everything and leaves nothing`, async () => {
    const before = leftFolders();
    let sent = false;
    const { child, text } = demo((said, running) => {
      if (sent || !said.includes(sign)) return;
      sent = true;
      running.kill(signal);
    });
    const { code } = await child.status;
    const said = await text;
    assert.equal(code, 130, said);
    assert.match(said, /demo: interrupted; everything was stopped and removed/);
    assert.deepEqual(leftFolders(), before);
    assert.deepEqual(await leftProcesses(), []);
  });
}
