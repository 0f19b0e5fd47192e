import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ImageCheck } from "./image.ts";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

async function withImage(list: unknown, test: (dir: string, check: ImageCheck) => Promise<void>) {
  const dir = await Deno.makeTempDir({ prefix: "cocos-image-test-" });
  try {
    await Deno.writeTextFile(`${dir}/bzImage`, "kernel");
    await Deno.writeTextFile(`${dir}/rootfs.cpio.gz`, "root");
    if (list !== undefined) {
      await Deno.writeTextFile(
        `${dir}/measurements.json`,
        typeof list === "string" ? list : JSON.stringify(list),
      );
    }
    await test(dir, new ImageCheck(`${dir}/bzImage`, `${dir}/rootfs.cpio.gz`));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const good = {
  files: { bzImage: { sha256: sha256("kernel") }, "rootfs.cpio.gz": { sha256: sha256("root") } },
};

Deno.test("N-10 ImageCheck takes the image its list describes, and sees a later change", async () => {
  await withImage(good, async (dir, check) => {
    await check.run();
    await check.run();
    await Deno.writeTextFile(`${dir}/rootfs.cpio.gz`, "root, changed");
    await assert.rejects(check.run(), {
      code: "digest-mismatch",
      message: /rootfs\.cpio\.gz: its SHA-256 is/,
    });
  });
});

Deno.test("N-10 ImageCheck refuses another kernel, a missing file, a damaged list", async () => {
  const other = { files: { ...good.files, bzImage: { sha256: sha256("x") } } };
  await withImage(other, (_dir, check) => assert.rejects(check.run(), { code: "digest-mismatch" }));
  await withImage("{", (_dir, check) => assert.rejects(check.run(), { code: "digest-mismatch" }));
  await withImage({}, (_dir, check) => assert.rejects(check.run(), { code: "digest-mismatch" }));
  await withImage(good, async (dir, check) => {
    await Deno.remove(`${dir}/bzImage`);
    await assert.rejects(check.run(), Deno.errors.NotFound);
  });
});

Deno.test("ImageCheck: without a list, or for a file of another folder, there is nothing to compare", async () => {
  await withImage(undefined, (_dir, check) => check.run());
  await withImage(good, async (dir) => {
    await Deno.mkdir(`${dir}/mine`);
    await Deno.writeTextFile(`${dir}/mine/rootfs.cpio.gz`, "my own");
    await new ImageCheck(`${dir}/bzImage`, `${dir}/mine/rootfs.cpio.gz`).run();
  });
});
