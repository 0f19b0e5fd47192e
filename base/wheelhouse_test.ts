import assert from "node:assert/strict";
import { digestOf } from "./hasher.ts";
import { hex } from "./digest.ts";
import { listWheelhouse } from "./wheelhouse.ts";
import { zipEntries } from "./zip.ts";

async function inFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-wheels-" });
  try {
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("listWheelhouse() takes requirements.txt and wheels, in byte order, whatever their times", async () => {
  await inFolder(async (dir) => {
    for (const name of ["b-1-py3-none-any.whl", "a-2-py3-none-any.whl", "x", "requirements.txt"]) {
      await Deno.writeTextFile(`${dir}/${name}`, name);
    }
    const digest = async () => hex(await digestOf(zipEntries(await listWheelhouse(dir))));
    assert.deepEqual((await listWheelhouse(dir)).map(({ name }) => name), [
      "requirements.txt",
      "a-2-py3-none-any.whl",
      "b-1-py3-none-any.whl",
    ]);
    const before = await digest();
    await Deno.utime(`${dir}/b-1-py3-none-any.whl`, new Date(0), new Date(0));
    assert.equal(await digest(), before);
    await Deno.writeTextFile(`${dir}/other.txt`, "other");
    const [requirements] = await listWheelhouse(dir, `${dir}/other.txt`);
    assert.equal(requirements?.path, `${dir}/other.txt`);
  });
});

Deno.test("listWheelhouse() refuses a folder without wheels or requirements", async () => {
  await inFolder(async (dir) => {
    await assert.rejects(listWheelhouse(dir), { code: "invalid-argument" });
    await assert.rejects(listWheelhouse(`${dir}/none`), { code: "not-found" });
    await Deno.writeTextFile(`${dir}/a-1-py3-none-any.whl`, "a");
    await assert.rejects(listWheelhouse(dir), { code: "not-found" });
  });
});
