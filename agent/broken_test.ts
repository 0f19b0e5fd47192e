// What stays of uploads that break off.
import assert from "node:assert/strict";
import { Broken } from "./broken.ts";
import { IncomingFile } from "./receive.ts";

Deno.test("Z-1 G-15 an upload that breaks off after its item came by another connection leaves nothing", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const broken = new Broken();
    const half = async (name: string) => {
      const file = new IncomingFile(`${dir}/${name}`, "dataset", 100);
      await file.write(new Uint8Array(10));
      return file;
    };
    await broken.park("dataset:a", await half("early"));
    assert.equal((await broken.held("dataset:a")).bytes, 10);
    broken.received("dataset:a");
    await broken.park("dataset:a", await half("late"));
    await broken.park("dataset:b", await half("other"));
    assert.equal((await broken.held("dataset:a")).bytes, 0);
    assert.deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name), ["other"]);
    broken.end();
    assert.deepEqual([...Deno.readDirSync(dir)], []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
