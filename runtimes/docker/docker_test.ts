import assert from "node:assert/strict";
import { runJob, startRunner, type TestRunner } from "../_harness.ts";
import { type Dockerd, ENGINE, imageOf, must, startDockerd, whyNot } from "./_dockerd.ts";

const FAST = { wallSeconds: 120, memoryBytes: 256 << 20, processes: 64 };

let dockerd: Dockerd | undefined;
let runner: TestRunner | undefined;
const reason = await whyNot();
Deno.test.beforeAll(async () => {
  if (reason !== undefined) return;
  dockerd = await startDockerd("mapped");
  runner = await startRunner(["--docker", ENGINE]);
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
  await dockerd?.[Symbol.asyncDispose]();
});

/** A test that needs the engine. */
function test(name: string, fn: () => Promise<void>): void {
  Deno.test(name, async () => {
    if (reason !== undefined) return console.log(`skipped: ${reason}`);
    await fn();
  });
}

test("docker runs an image in the world of every algorithm", async () => {
  const end = await runJob({
    kind: "docker",
    algo: await imageOf(
      {
        "bin/run": `#!/bin/sh
set -e
pwd
echo "$@"
busybox cat datasets/*
busybox ls /cocos
echo out > results/a.txt
echo err >&2
busybox test ! -w datasets
busybox env | busybox sort
`,
      },
      'ENTRYPOINT ["/bin/run"]',
      'CMD ["not seen"]',
      "ENV OWN=1",
      "USER root",
    ),
    args: ["--epochs", "5", "a b"],
    datasets: { "one.csv": "1\n", "two.csv": "2\n" },
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(
    end.stdout,
    "/cocos\n--epochs 5 a b\n1\n2\ndatasets\nresults\n" +
      "HOME=/tmp\nHOSTNAME=cocos\nLANG=C.UTF-8\nOWN=1\nPATH=/usr/local/bin:/usr/bin:/bin\n" +
      "PWD=/cocos\nSHLVL=1\nTMPDIR=/tmp\n",
  );
  assert.equal(end.stderr, "err\n");
  assert.equal(await Deno.readTextFile(`${end.results}/a.txt`), "out\n");
  const { usage } = end.finished;
  assert.deepEqual([usage.resultsFiles, usage.resultsBytes], [1, 4]);
  assert.ok(usage.peakBytes > 0 && usage.cpuMs > 0, JSON.stringify(usage));
  assert.equal(await must("docker ps -aq; docker images -aq; docker volume ls -q"), "");
});
