import assert from "node:assert/strict";
import { run } from "./_run.ts";

Deno.test("run() answers standard output, and complaints as an error", async () => {
  assert.equal(await run("sh", ["-c", "echo yes; echo no >&2"]), "yes\n");
  await assert.rejects(run("sh", ["-c", "echo why >&2; exit 3"]), {
    code: "io",
    message: "Cannot build the image: sh -c ended with 3:\n  why",
  });
  await assert.rejects(run("busybox", ["no-such-applet"]), { code: "io" });
});

Deno.test("run() ends a program that takes longer than it may", async () => {
  await assert.rejects(run("sh", ["-c", "exec sleep 600"], { limitMs: 50 }), {
    code: "timeout",
    message: "Cannot build the image: sh -c was not done in 50 ms",
  });
});
